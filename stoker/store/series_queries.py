"""Series of measurements, read: any of them at a wanted number of points, the steps of a run, the machine's last values.

Blocks and open points are one series here; where both hold an at, the open point is newer and wins. The names and units
are in `series`. Only what leaves points out loads numpy.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, select, union

from stoker.errors import NotFound
from stoker.store import tables as t
from stoker.store.downsample import downsample
from stoker.store.series import BLOCK, MACHINE

POINTS: Final = 2000
"""As many as a wide screen has columns."""
STEP_NAMES: Final = ("loss", "learning_rate", "grad_norm", "tokens", "rows", "seconds", "epoch", "time")
_COUNTS: Final = ("tokens", "rows")
_FIRST: Final = -(2**62)
_LAST: Final = 2**62


def series(
    connection: Connection,
    of: str,
    names: Sequence[str] = (),
    *,
    points: int = POINTS,
    first: int | None = None,
    last: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Return of each name `at` and `value` (None: not finite) with at most `points` points (0: all) from `first` to `last`.

    `num_points` says how many there are. No names: every one. NotFound for a name that was never measured.
    """
    known = series_names(connection, of)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NotFound(
            f"{of} has no series {unknown[0]!r}", f"it has: {', '.join(known) or 'none yet'}", "name one of them"
        )
    found = {}
    for name in names or known:
        ats, values = load(connection, of, name, first=first, last=last)
        at, value = downsample(ats, values, points)
        found[name] = {"num_points": len(ats), "at": at, "value": value}
    return found


def series_names(connection: Connection, of: str) -> list[str]:
    """Return what was measured of a run or the machine, by name."""
    p, b = t.points, t.blocks
    both = union(select(p.c.name).where(p.c.series == of), select(b.c.name).where(b.c.series == of))
    return sorted(connection.scalars(both))


def load(
    connection: Connection, of: str, name: str, *, first: int | None = None, last: int | None = None
) -> tuple[array[int], array[float]]:
    """Return every at from `first` to `last` and its value (NaN: not finite), ascending."""
    low, high = _FIRST if first is None else first, _LAST if last is None else last
    b, p = t.blocks, t.points
    ats, values = array("q"), array("d")
    wanted = (b.c.series == of, b.c.name == name, b.c.number >= low // BLOCK, b.c.number <= high // BLOCK)
    for row in connection.execute(select(b.c.ats, b.c.points).where(*wanted).order_by(b.c.number)):
        ats.frombytes(row.ats)
        values.frombytes(row.points)
    if ats and (ats[0] < low or ats[-1] > high):
        begin, end = bisect_left(ats, low), bisect_right(ats, high)
        ats, values = ats[begin:end], values[begin:end]
    tail = connection.execute(
        select(p.c.at, p.c.value)
        .where(p.c.series == of, p.c.name == name, p.c.at >= low, p.c.at <= high)
        .order_by(p.c.at)
    ).all()
    if tail and ats and tail[0].at <= ats[-1]:
        merged = dict(zip(ats, values, strict=True)) | {at: _number(value) for at, value in tail}
        ats = array("q", sorted(merged))
        return ats, array("d", (merged[at] for at in ats))
    ats.extend(at for at, _ in tail)
    values.extend(_number(value) for _, value in tail)
    return ats, values


def metrics(connection: Connection, run_id: str, *, after_step: int = 0) -> list[dict[str, Any]]:
    """One record per step of a run, in order; losses are raw."""
    steps: dict[int, dict[str, Any]] = {}
    for name in STEP_NAMES:
        for step, value in zip(*load(connection, run_id, name, first=after_step + 1), strict=True):
            record = steps.get(step)
            if record is None:
                record = steps[step] = {"step": step, **dict.fromkeys(STEP_NAMES)}
            if value == value:
                record[name] = int(value) if name in _COUNTS else value
    return [steps[step] for step in sorted(steps)]


def machine(connection: Connection, since: float) -> dict[str, Any]:
    """Return the machine's newest values since a moment by name, with the `time` of the last (None: there are none)."""
    p = t.points
    recent = (p.c.series == MACHINE, p.c.at >= int(since))
    rows = connection.execute(
        select(p.c.name, p.c.value, func.max(p.c.at).label("at")).where(*recent).group_by(p.c.name)
    )
    found = {row.name: (row.at, row.value) for row in rows}
    newest = max((at for at, _ in found.values()), default=None)
    return {"time": newest, **{name: value for name, (_, value) in sorted(found.items())}}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
