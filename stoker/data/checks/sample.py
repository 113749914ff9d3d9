"""A sample of a file's rows that does not depend on their order: the rows of the smallest ids, which are hashes.

It bounds what the dearer looks cost (languages, phrases that answers share): a file of up to SAMPLE_ROWS rows is looked at
whole, a larger one at that many.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from stoker.data.rows import Row

SAMPLE_ROWS = 1000
_CHARS = 400


@dataclass(frozen=True, slots=True)
class Sampled:
    """A row's file in a zip, its line, and the beginning and end of its answer; of plain text, of all of it."""

    member: str
    line: int
    beginning: str
    end: str
    is_text: bool


class RowSample:
    """Keeps the rows of the smallest ids."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Sampled]] = []
        self._first_left_out = "g"  # ids from here on, as hexadecimal digits, come too late

    def add(self, row: Row, answer: str, member: str = "") -> None:
        if row.id >= self._first_left_out:
            return
        key = -int(row.id, 16)
        entry = (key, row.line, Sampled(member, row.line, answer[:_CHARS], answer[-_CHARS:], row.messages is None))
        if len(self._heap) < SAMPLE_ROWS:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)
        if len(self._heap) == SAMPLE_ROWS:
            self._first_left_out = f"{-self._heap[0][0]:016x}"

    def rows(self) -> list[Sampled]:
        """Return the sample, in the order of the ids."""
        return [sampled for _, _, sampled in sorted(self._heap, reverse=True)]
