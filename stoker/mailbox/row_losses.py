"""A run's losses row by row, in `row_losses.jsonl` of its folder: one line a step, written by the worker, read by the review.

    {"begin": step, "datasets": [id, ...]}                  a worker goes on (or begins) after this step
    {"step": step, "rows": [[dataset, row, nll, tokens]]}   dataset: its place in `datasets`; nll: summed over the row's trained tokens

Every visit counts once, whatever was killed when: a begin takes back every later step, as the checkpoint does that the worker
goes on from, and of a step that is there twice the last one holds. Appends reach the page cache; a checkpoint syncs them.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stoker.mailbox.journal import JournalReader, JournalWriter

ROW_LOSSES = "row_losses.jsonl"
RowLoss = tuple[int, str, float, int]


@dataclass(frozen=True, slots=True)
class Visits:
    """The visits of one dataset's rows in one run, in the order of steps. `row` is the row's id as a number, `nll` in nats."""

    row: npt.NDArray[np.uint64]
    step: npt.NDArray[np.int64]
    nll: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]


class RowLossWriter:
    """A worker's end."""

    def __init__(self, folder: Path, step: int, datasets: Sequence[str]) -> None:
        self._journal = JournalWriter(folder / ROW_LOSSES)
        self._journal.append({"begin": step, "datasets": list(datasets)})

    def append(self, step: int, rows: Sequence[RowLoss]) -> None:
        """Write what a step's rows lost; a loss that is not finite becomes null."""
        self._journal.append({"step": step, "rows": rows})

    def sync(self) -> None:
        """Make what is written durable, before a checkpoint is that counts on it."""
        self._journal.sync()

    def close(self) -> None:
        self._journal.close()


def read_visits(folder: Path, dataset: str) -> Visits:
    """Return the visits of a dataset's rows in the run of this folder; none when nothing was recorded."""
    steps: dict[int, list[Any]] = {}
    datasets: list[str] = []
    reader = JournalReader(folder / ROW_LOSSES)
    while records := reader.read():
        for record in records:
            if "begin" in record:
                datasets = record["datasets"]
                steps = {step: rows for step, rows in steps.items() if step <= record["begin"]}
            else:
                steps[record["step"]] = record["rows"]
    ours = datasets.index(dataset) if dataset in datasets else -1
    columns: tuple[array[Any], ...] = (array("Q"), array("q"), array("d"), array("q"))
    for step in sorted(steps):
        for place, row, nll, tokens in steps[step]:
            if place == ours and nll is not None:
                for column, value in zip(columns, (int(row, 16), step, nll, tokens), strict=True):
                    column.append(value)
    kinds = (np.uint64, np.int64, np.float64, np.int64)
    return Visits(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))  # type: ignore[arg-type]
