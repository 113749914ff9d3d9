"""A published dataset folder, for reading. Rows are read afresh each time; nothing is kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import orjson

from stoker.data.rows import Row

SUMMARY, ROWS, HELDOUT, LEDGER = "dataset.json", "rows.jsonl", "heldout.jsonl", "ledger.jsonl"
KEPT, KEPT_HELDOUT = "preference.jsonl", "preference_heldout.jsonl"


class Dataset:
    """The dataset in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Counts, reasons, notes: the content of dataset.json."""
        summary: dict[str, Any] = orjson.loads((self.folder / SUMMARY).read_bytes())
        return summary

    def train_rows(self) -> list[Row]:
        """Return the rows to train on, in file order; preference rows are not among them."""
        return [Row.from_json(record) for record in _records(self.folder / ROWS)]

    def each_train_row(self) -> Iterator[Row]:
        """Yield the rows of the train side one by one, the preference rows after the others."""
        for path in (self.folder / ROWS, self.folder / KEPT):
            if path.exists():
                yield from (Row.from_json(record) for record in _records(path))

    def preference_rows(self) -> list[Row]:
        """Return the rows that are kept for preference training."""
        path = self.folder / KEPT
        return [Row.from_json(record) for record in _records(path)] if path.exists() else []

    def heldout_rows(self, *, representatives_only: bool = True) -> list[Row]:
        """Return the sealed rows: one per cluster, which is what is evaluated, or all that are held out."""
        return [
            Row.from_json(record)
            for record in _records(self.folder / HELDOUT)
            if record["is_representative"] or not representatives_only
        ]

    def all_rows(self, side: Literal["train", "held_out", "all"] = "all") -> list[Row]:
        """Return the rows of a side or of both, preference rows among them, in the order of their lines."""
        names = {"train": (ROWS, KEPT), "held_out": (HELDOUT, KEPT_HELDOUT)}
        chosen = [*names["train"], *names["held_out"]] if side == "all" else names[side]
        paths = [self.folder / name for name in chosen]
        rows = [Row.from_json(record) for path in paths if path.exists() for record in _records(path)]
        return sorted(rows, key=lambda row: row.line)

    def raw_rows(self, names: Sequence[str] = (ROWS, KEPT, HELDOUT, KEPT_HELDOUT)) -> Iterator[bytes]:
        """Yield the records of these files undecoded, file by file; a file that is not there has none."""
        for path in (self.folder / name for name in names):
            if path.exists():
                with path.open("rb") as file:
                    yield from file

    def ledger(self) -> Iterator[dict[str, Any]]:
        """Yield what happened to each input row, in file order."""
        return _records(self.folder / LEDGER)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)
