"""What the log of requests tells: lines, totals by key and model with their latencies, and what passes used today.

Reads only; it works while a server writes, and without one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stoker.serve.database import damage_told, open_reading
from stoker.serve.log import FILE, VERSION

_SHOWN = (
    "id", "time", "kind", "pass AS key", "model", "endpoint", "status", "tokens_in", "tokens_out", "first_token_seconds",
    "seconds", "error", "confidence",
)  # fmt: skip


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the log below `folder`; None when nothing was ever logged."""
    path = folder / FILE
    if not path.exists() or path.stat().st_size == 0:
        yield None
        return
    connection = open_reading(path, VERSION)
    try:
        with damage_told(path):
            yield connection
    finally:
        connection.close()


def requests(
    folder: Path, *, since: float = 0.0, passes: Sequence[str] = (), model: str | None = None, most: int = 50
) -> list[dict[str, Any]]:
    """Return the newest requests, oldest first, without prompts."""
    where, values = _where(since, passes, model)
    query = f"SELECT {', '.join(_SHOWN)} FROM requests WHERE {where} ORDER BY time DESC, rowid DESC LIMIT ?"
    with reading(folder) as connection:
        rows = connection.execute(query, (*values, most)).fetchall() if connection is not None else []
    return [dict(row) for row in reversed(rows)]


def totals(folder: Path, *, since: float = 0.0, passes: Sequence[str] = (), model: str | None = None) -> dict[str, Any]:
    """Return {"all": totals, "by_key": [...], "by_model": [...]} of those requests."""
    where, values = _where(since, passes, model)
    columns = "coalesce(pass, kind) AS key, model, status, tokens_in, tokens_out, first_token_seconds, seconds"
    with reading(folder) as connection:
        query = f"SELECT {columns} FROM requests WHERE {where}"
        rows = connection.execute(query, values).fetchall() if connection is not None else []
    by_key: dict[str, list[sqlite3.Row]] = {}
    by_model: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row)
        by_model.setdefault(row["model"], []).append(row)
    return {
        "all": _total(rows),
        "by_key": [{"key": key, **_total(some)} for key, some in sorted(by_key.items())],
        "by_model": [{"model": name, **_total(some)} for name, some in sorted(by_model.items())],
    }


def usage(folder: Path, today: str) -> dict[str, dict[str, int]]:
    """Return for each pass what it used today and in all, and how often a quota refused it today."""
    query = """
    SELECT pass, total(requests) AS requests, total(tokens_in + tokens_out) AS tokens,
        total(CASE WHEN day = :today THEN requests END) AS requests_today,
        total(CASE WHEN day = :today THEN tokens_in + tokens_out END) AS tokens_today,
        total(CASE WHEN day = :today THEN refused END) AS refused_today
    FROM usage GROUP BY pass
    """
    with reading(folder) as connection:
        rows = connection.execute(query, {"today": today}).fetchall() if connection is not None else []
    return {row["pass"]: {name: int(row[name]) for name in row.keys() if name != "pass"} for row in rows}  # noqa: SIM118


def lost_lines(folder: Path, *, since: float = 0.0) -> int:
    """Return how many requests are not in the log because it could not be written."""
    with reading(folder) as connection:
        if connection is None:
            return 0
        return int(connection.execute("SELECT total(lines) FROM lost WHERE time >= ?", (since,)).fetchone()[0])


def quantile(sorted_values: Sequence[float], share: float) -> float | None:
    """Return a quantile, interpolated linearly; None of nothing."""
    if not sorted_values:
        return None
    place = share * (len(sorted_values) - 1)
    low = int(place)
    high = min(low + 1, len(sorted_values) - 1)
    return sorted_values[low] + (sorted_values[high] - sorted_values[low]) * (place - low)


def _total(rows: Sequence[sqlite3.Row]) -> dict[str, Any]:
    seconds = sorted(row["seconds"] for row in rows if row["seconds"] is not None)
    first = sorted(row["first_token_seconds"] for row in rows if row["first_token_seconds"] is not None)
    return {
        "requests": len(rows),
        "failed": sum(row["status"] >= 400 for row in rows),
        "tokens_in": sum(row["tokens_in"] for row in rows),
        "tokens_out": sum(row["tokens_out"] for row in rows),
        "seconds_p50": quantile(seconds, 0.5),
        "seconds_p95": quantile(seconds, 0.95),
        "first_token_seconds_p50": quantile(first, 0.5),
        "first_token_seconds_p95": quantile(first, 0.95),
    }


def _where(since: float, passes: Sequence[str], model: str | None) -> tuple[str, tuple[Any, ...]]:
    parts: list[str] = ["time >= ?"]
    values: list[float | str] = [since]
    if passes:
        parts.append(f"pass IN ({', '.join('?' * len(passes))})")
        values += passes
    if model is not None:
        parts.append("(model = ? OR model LIKE ? ESCAPE '!')")
        escaped = model.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        values += [model, f"{escaped}/v%"]
    return " AND ".join(parts), tuple(values)
