"""Everything that a dataset's file says, also the rows that an earlier dataset already holds.

A dataset's folder has the rows that were new; those of an earlier file are in the ledger as duplicates, and their words in
that file's folder. Comparing two versions of a file needs both.
"""

from __future__ import annotations

from collections.abc import Iterable

from stoker.data.dataset import Dataset
from stoker.data.rows import Row

KNOWN = "duplicate-of-earlier"


def contents(dataset: Dataset, earlier: Iterable[Dataset]) -> list[Row]:
    """Return every usable row of a dataset's file once, in the order of its lines."""
    rows = dataset.all_rows()
    lines = {record["row"]: record["line"] for record in dataset.ledger() if record["code"] == KNOWN}
    for other in earlier:
        if not lines:
            break
        found = [row for row in other.all_rows() if row.id in lines]
        rows += [Row(row.id, lines.pop(row.id), row.content) for row in found]
    return sorted(rows, key=lambda row: row.line)
