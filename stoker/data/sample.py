"""A few rows of a dataset to look at: spread over it, or those of given lines. Only the rows that are shown are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count
from typing import Any, NamedTuple

import orjson

from stoker.data.dataset import HELDOUT, KEPT, KEPT_HELDOUT, ROWS, Dataset
from stoker.data.rows import Row
from stoker.errors import NotFound

_TRAINED, _SEALED = (ROWS, KEPT), (HELDOUT, KEPT_HELDOUT)


class Sampled(NamedTuple):
    """A row and its side: "train" or "held_out"."""

    row: Row
    side: str


def spread_rows(dataset: Dataset, num: int) -> list[Sampled]:
    """Return up to `num` rows from the first to the last, in the order of their lines: trained ones where there are any."""
    for side, names in (("train", _TRAINED), ("held_out", _SEALED)):
        total = sum(1 for _ in dataset.raw_rows(names))
        if total:
            shown = min(num, total)
            chosen = {round(place * (total - 1) / max(1, shown - 1)) for place in range(shown)}
            lines = compress(dataset.raw_rows(names), (place in chosen for place in count()))
            return sorted((_sampled(line, side) for line in lines), key=lambda one: one.row.line)
    return []


def rows_of_lines(dataset: Dataset, lines: Sequence[int]) -> list[Sampled]:
    """Return the rows of these lines; NotFound says of a line without a row what became of it."""
    wanted = set(lines)
    found = [
        one
        for side, names in (("train", _TRAINED), ("held_out", _SEALED))
        for raw in dataset.raw_rows(names)
        if (one := _sampled(raw, side)).row.line in wanted
    ]
    missing = wanted - {one.row.line for one in found}
    if missing:
        raise _no_row(dataset, min(missing))
    return sorted(found, key=lambda one: one.row.line)


def _sampled(raw: bytes, side: str) -> Sampled:
    return Sampled(Row.from_json(orjson.loads(raw)), side)


def _no_row(dataset: Dataset, line: int) -> NotFound:
    name = dataset.summary["name"]
    entry: dict[str, Any] | None = next((entry for entry in dataset.ledger() if entry["line"] == line), None)
    if entry is None:
        rows_in = dataset.summary["rows_in"]
        return NotFound(
            f"{name} has no row that begins on line {line}", f"it has {rows_in:,} rows", "name another line"
        )
    why = f"{entry['code']}: {entry['reason']}" if entry["code"] else entry["reason"]
    return NotFound(
        f"the row on line {line} of {name} is {entry['state']} and does not train", why, "name another line"
    )
