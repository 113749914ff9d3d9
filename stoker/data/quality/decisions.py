"""What people decided about rows: an append-only file for each dataset, `.stoker/reviews/ID.jsonl`, beside the immutable dataset.

    {"number": 3, "decision": "remove", "rows": [[row, line], ...], "time": ..., "token": ...}      or "keep"
    {"undo": 3, "time": ..., "token": ...}

This file is the truth; the store's counts follow it. What holds of a row is the last decision on it that was not undone. A token
names one wish: carried out a second time after a crash, it changes nothing. Only the supervisor writes here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stoker.durable import fsync_path
from stoker.errors import NotFound
from stoker.faults import fault_point
from stoker.mailbox.journal import JournalReader, JournalWriter

Verb = Literal["keep", "remove"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: row id to line."""

    number: int
    verb: Verb
    rows: dict[str, int]
    time: float
    is_undone: bool


@dataclass(slots=True)
class Decided:
    """All decisions about a dataset, oldest first, undone ones too."""

    decisions: list[Decision] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=dict)

    def standing(self) -> dict[str, Verb]:
        """Return what holds of each row that was decided about."""
        return {row: one.verb for one in self.decisions if not one.is_undone for row in one.rows}

    def removed(self) -> dict[str, int]:
        """Return the rows that are removed now, with their lines."""
        lines = {row: line for one in self.decisions for row, line in one.rows.items()}
        return {row: lines[row] for row, verb in self.standing().items() if verb == "remove"}


def read_decided(path: Path) -> Decided:
    """Read a dataset's decisions; none when there is no file."""
    size = path.stat().st_size if path.exists() else 0
    records = JournalReader(path).read(size)  # whole: one decision may name a million rows
    undone = {record["undo"] for record in records if "undo" in record}
    decided = Decided()
    for record in records:
        number = int(record["undo"] if "undo" in record else record["number"])
        decided.tokens[record["token"]] = number
        if "undo" not in record:
            rows = dict(record["rows"])
            decided.decisions.append(
                Decision(number, record["decision"], rows, record["time"], is_undone=number in undone)
            )
    return decided


def append_decision(path: Path, verb: Verb, rows: dict[str, int], now: float, token: str) -> int:
    """Record a decision durably and return its number; that of the first time when the token is known."""
    decided = read_decided(path)
    if token in decided.tokens:
        return decided.tokens[token]
    number = len(decided.decisions) + 1
    _append(path, {"number": number, "decision": verb, "rows": list(rows.items()), "time": now, "token": token})
    return number


def append_undo(path: Path, number: int, now: float, token: str) -> None:
    """Record that a decision no longer holds; NotFound when there is none of this number."""
    decided = read_decided(path)
    found = [one for one in decided.decisions if one.number == number]
    if not found:
        raise NotFound(f"no decision {number}", f"there are {len(decided.decisions)}", "see: stoker data review ID")
    if token not in decided.tokens and not found[0].is_undone:
        _append(path, {"undo": number, "time": now, "token": token})


def _append(path: Path, record: dict[str, Any]) -> None:
    is_new = not path.exists()
    writer = JournalWriter(path)
    try:
        writer.append(record)
        writer.sync()
    finally:
        writer.close()
    if is_new:
        fsync_path(path.parent)
    fault_point("review.written")
