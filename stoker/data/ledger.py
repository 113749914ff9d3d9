"""The row ledger: one record per input row, in file order, with its state and the reason for it.

States are train, held_out, duplicate and quarantined. `row` is the row's id, null where no row could be made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

LEDGER = "ledger.jsonl"
STATES = ("train", "held_out", "duplicate", "quarantined")


@dataclass(slots=True)
class LedgerEntry:
    """What happened to one input row. `remedy` and `excerpt` are set for rows that are not used, `member` in a zip."""

    line: int
    row: str | None
    state: str
    code: str = ""
    reason: str = ""
    cluster: int | None = None
    remedy: str = ""
    excerpt: str = ""
    member: str = ""


def write_ledger(path: Path, entries: Sequence[LedgerEntry]) -> None:
    """Write every entry as one JSON line."""
    with path.open("wb") as file:
        for entry in entries:
            record = {
                "line": entry.line, "row": entry.row, "state": entry.state,
                "code": entry.code, "reason": entry.reason, "cluster": entry.cluster,
            }  # fmt: skip
            for key in ("member", "remedy", "excerpt"):
                if value := getattr(entry, key):
                    record[key] = value
            file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))


def count_states(entries: Sequence[LedgerEntry]) -> dict[str, int]:
    """Return rows_in and the number of rows in each state, having asserted that they add up."""
    counts = Counter(entry.state for entry in entries)
    counted = {state: counts[state] for state in STATES}
    assert sum(counted.values()) == len(entries), "rows in = train + held out + duplicate + quarantined"
    return {"rows_in": len(entries), **counted}


def count_reasons(entries: Sequence[LedgerEntry]) -> dict[str, int]:
    """Return how many rows have each code, the most frequent first."""
    return dict(Counter(entry.code for entry in entries if entry.code).most_common())
