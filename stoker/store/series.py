"""Series of measurements, written: each (series, name, at) holds one value, the last one written.

New points lie in the table `points`. Once a later block of 4,096 ats has begun, the points of the earlier one become a
row of `blocks` in the same transaction, merged with what that row held: reading a million points is then a few hundred
rows. `forget_after` takes a series back. A series is a run's id (`at` is the step) or MACHINE (`at` is the second since
the epoch). Nothing here loads numpy; reads are in `series_queries`.

    of a run      loss (nats per trained token), learning_rate, grad_norm (before clipping), tokens, rows, seconds (of the
                  step), epoch (done), time (seconds since the epoch), heldout_loss (nats per token), grad_norm/LAYER
    of MACHINE    cpu (percent of all cores), ram (bytes in use), disk_free (bytes), worker.memory (bytes), and of each GPU
                  gpu0.utilisation (percent), gpu0.memory (bytes in use), gpu0.power (watts), gpu0.temperature (degrees
                  Celsius), gpu0.energy (joules since the driver was loaded: the card's counter)
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert as upsert

from stoker.store import tables as t
from stoker.store.store import Transaction

BLOCK: Final = 4096
MACHINE: Final = "machine"
Point = tuple[str, int, float | None]  # name, at, value; None: not finite
_NAN: Final = float("nan")


def put_points(transaction: Transaction, series: str, points: Iterable[Point]) -> None:
    """Enter points of a series; one that is there already is replaced."""
    rows = {(name, at): _finite(value) for name, at, value in points}
    if not rows:
        return
    statement = upsert(t.points)
    transaction.execute(
        statement.on_conflict_do_update(
            index_elements=["series", "name", "at"], set_={"value": statement.excluded.value}
        ),
        [{"series": series, "name": name, "at": at, "value": value} for (name, at), value in rows.items()],
    )
    newest: dict[str, int] = {}
    for name, at in rows:
        newest[name] = max(newest.get(name, 0), at // BLOCK)
    for name, oldest in _oldest(transaction, series, list(newest)):
        if oldest // BLOCK < newest[name]:
            _seal(transaction, series, name, newest[name] * BLOCK)


def forget_after(transaction: Transaction, series: str, at: int) -> None:
    """Remove every point of a series that is later than `at`: what comes next is measured anew."""
    p, b = t.points, t.blocks
    transaction.execute(delete(p).where(p.c.series == series, p.c.at > at))
    later = (b.c.series == series, b.c.number >= at // BLOCK)
    for block in transaction.rows(select(b).where(*later, b.c.number == at // BLOCK)):
        kept = [
            {"series": series, "name": block.name, "at": each, "value": _finite(value)}
            for each, value in zip(*unpack(block.ats, block.points), strict=True)
            if each <= at
        ]
        if kept:
            transaction.execute(upsert(p).on_conflict_do_nothing(), kept)
    transaction.execute(delete(b).where(*later))


def remove_before(transaction: Transaction, series: str, at: int) -> None:
    """Remove the points of a series that are older than `at`, by whole blocks."""
    p, b = t.points, t.blocks
    transaction.execute(delete(b).where(b.c.series == series, b.c.number < at // BLOCK))
    transaction.execute(delete(p).where(p.c.series == series, p.c.at < at))


def thin_before(transaction: Transaction, series: str, at: int, every: int, done: int) -> int:
    """Replace the points of whole blocks older than `at` by the mean of each `every` ats; non-finite ones are left out.

    `done` is what the last call returned: the first block that has not been thinned.
    """
    b = t.blocks
    last = at // BLOCK
    for block in transaction.rows(select(b).where(b.c.series == series, b.c.number >= done, b.c.number < last)):
        pairs = zip(*unpack(block.ats, block.points), strict=True)
        means = [_mean(list(group)) for _, group in groupby(pairs, key=lambda pair: pair[0] // every)]
        _put_block(transaction, series, block.name, block.number, dict(found for found in means if found is not None))
    return max(done, last)


def pack(values: dict[int, float | None]) -> tuple[bytes, bytes]:
    """Return a block's ats (int64) and values (float64, NaN for None), ascending, in the machine's byte order."""
    ats = array("q", sorted(values))
    found = (values[at] for at in ats)
    return ats.tobytes(), array("d", (_NAN if value is None else value for value in found)).tobytes()


def unpack(ats: bytes, points: bytes) -> tuple[array[int], array[float]]:
    """Return what `pack` took."""
    return array("q", ats), array("d", points)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _oldest(transaction: Transaction, series: str, names: list[str]) -> list[tuple[str, int]]:
    """Return the first open point of each name: one index look-up each, in one statement."""
    import orjson

    wanted = func.json_each(orjson.dumps(names).decode()).table_valued("value")
    first = select(func.min(t.points.c.at)).where(t.points.c.series == series, t.points.c.name == wanted.c.value)
    rows = transaction.rows(select(wanted.c.value.label("name"), first.scalar_subquery().label("at")))
    return [(row.name, row.at) for row in rows if row.at is not None]


def _seal(transaction: Transaction, series: str, name: str, before: int) -> None:
    """Move the points of a name below `before` into blocks."""
    p = t.points
    below = (p.c.series == series, p.c.name == name, p.c.at < before)
    rows = transaction.rows(select(p.c.at, p.c.value).where(*below).order_by(p.c.at))
    for number, group in groupby(rows, key=lambda row: row.at // BLOCK):
        held = _block(transaction, series, name, number)
        _put_block(transaction, series, name, number, held | {row.at: row.value for row in group})
    transaction.execute(delete(p).where(*below))


def _block(transaction: Transaction, series: str, name: str, number: int) -> dict[int, float | None]:
    b = t.blocks
    where = (b.c.series == series, b.c.name == name, b.c.number == number)
    row = transaction.first(select(b.c.ats, b.c.points).where(*where))
    return dict(zip(*unpack(row.ats, row.points), strict=True)) if row is not None else {}


def _put_block(transaction: Transaction, series: str, name: str, number: int, values: dict[int, float | None]) -> None:
    ats, points = pack(values)
    statement = upsert(t.blocks).values(series=series, name=name, number=number, ats=ats, points=points)
    replace = {"ats": statement.excluded.ats, "points": statement.excluded.points}
    transaction.execute(statement.on_conflict_do_update(index_elements=["series", "name", "number"], set_=replace))


def _mean(pairs: list[tuple[int, float]]) -> tuple[int, float] | None:
    """Return the mean at and the mean value of the finite ones among a few points."""
    finite = [(at, value) for at, value in pairs if math.isfinite(value)]
    if not finite:
        return None
    return round(sum(at for at, _ in finite) / len(finite)), sum(value for _, value in finite) / len(finite)
