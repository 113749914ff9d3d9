"""The row ledger: one record per input row, in file order, with its state and the reason for it.

States are train, held_out, duplicate and quarantined. `row` is the row's id, null where no row could be made. In memory a row is
a few numbers; only rows that are told something of have more.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

STATES = ("train", "held_out", "duplicate", "quarantined")
_CODES = {state: code for code, state in enumerate(STATES)}
_WRITTEN_ROWS = 8192

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Told:
    """Why a row is where it is: `remedy` and `excerpt` for rows that are not used."""

    code: str
    reason: str
    remedy: str = ""
    excerpt: str = ""


_NOTHING = Told("", "")


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What happened to one input row. `member` is its file in a zip."""

    line: int
    row: str | None
    state: str
    told: Told
    cluster: int | None
    member: str


class Ledger:
    """Every input row by its place, from 0."""

    def __init__(self) -> None:
        self._lines, self._ids = array("Q"), array("Q")
        self._states, self._has_row = bytearray(), bytearray()
        self._told: dict[int, Told] = {}
        self._clusters: Indices = np.zeros(0, np.int64)
        self._member_starts: list[int] = []
        self._members: list[str] = []

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def lines(self) -> Indices:
        return np.array(self._lines, dtype=np.int64)

    @property
    def ids(self) -> npt.NDArray[np.uint64]:
        return np.array(self._ids, dtype=np.uint64)

    def begin_member(self, name: str) -> None:
        """Say which file of a zip the next rows are from."""
        self._member_starts.append(len(self))
        self._members.append(name)

    def add(self, line: int, row: int | None, state: str, told: Told | None = None) -> int:
        """Add the next row and return its place; `row` is the number that its id is."""
        place = len(self._lines)
        self._lines.append(line)
        self._ids.append(row or 0)
        self._has_row.append(row is not None)
        self._states.append(_CODES[state])
        if told is not None:
            self._told[place] = told
        return place

    def settle(self, places: Indices, states: Sequence[str], clusters: Indices) -> None:
        """Give the rows at `places` their state and cluster (-1: none), once every row is added."""
        found = np.frombuffer(self._states, np.uint8).copy()
        found[places] = [_CODES[state] for state in states]
        self._states = bytearray(found.tobytes())
        self._clusters = np.full(len(self), -1, np.int64)
        self._clusters[places] = clusters

    def tell(self, place: int, told: Told) -> None:
        self._told[place] = told

    def told_of(self, place: int) -> Told:
        return self._told.get(place, _NOTHING)

    def entry(self, place: int) -> LedgerEntry:
        cluster = int(self._clusters[place]) if len(self._clusters) else -1
        member = bisect(self._member_starts, place)
        return LedgerEntry(
            self._lines[place], f"{self._ids[place]:016x}" if self._has_row[place] else None, STATES[self._states[place]],
            self.told_of(place), None if cluster < 0 else cluster, self._members[member - 1] if member else "",
        )  # fmt: skip

    def told(self) -> Iterator[LedgerEntry]:
        """Yield the rows that something is told of, in order."""
        return map(self.entry, sorted(self._told))

    def later_of_clusters(self) -> Iterator[tuple[LedgerEntry, LedgerEntry]]:
        """Yield every row of a cluster but its first, in order, with the first."""
        places = np.flatnonzero(self._clusters >= 0)
        _, first, inverse = np.unique(self._clusters[places], return_index=True, return_inverse=True)
        firsts = places[first][inverse]
        is_later = places != firsts
        for place, other in zip(places[is_later].tolist(), firsts[is_later].tolist(), strict=True):
            yield self.entry(place), self.entry(other)

    def count_states(self) -> dict[str, int]:
        """Return rows_in and the number of rows in each state, having asserted that they add up."""
        counts = np.bincount(np.frombuffer(self._states, np.uint8), minlength=len(STATES)).tolist()
        counted = dict(zip(STATES, counts, strict=True))
        assert sum(counted.values()) == len(self), "rows in = train + held out + duplicate + quarantined"
        return {"rows_in": len(self), **counted}

    def count_reasons(self) -> dict[str, int]:
        """Return how many rows have each code, the most frequent first."""
        return dict(Counter(self._told[place].code for place in sorted(self._told)).most_common())

    def write(self, path: Path) -> None:
        """Write every entry as one JSON line."""
        with path.open("wb") as file:
            for start in range(0, len(self), _WRITTEN_ROWS):
                end = min(start + _WRITTEN_ROWS, len(self))
                file.writelines(map(self._record, range(start, end), self._clusters[start:end].tolist()))

    def _record(self, place: int, cluster: int) -> bytes:
        if place not in self._told and not self._members and self._has_row[place] and cluster >= 0:
            values = self._lines[place], self._ids[place], STATES[self._states[place]].encode(), cluster
            return b'{"line":%d,"row":"%016x","state":"%s","code":"","reason":"","cluster":%d}\n' % values
        entry = self.entry(place)
        told = {"member": entry.member, "remedy": entry.told.remedy, "excerpt": entry.told.excerpt}
        record = {
            "line": entry.line, "row": entry.row, "state": entry.state,
            "code": entry.told.code, "reason": entry.told.reason, "cluster": entry.cluster,
        }  # fmt: skip
        record |= {key: value for key, value in told.items() if value}
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
