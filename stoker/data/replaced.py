"""Which rows of a dataset still count after another took its place: those that a dataset in force has too.

A row is known by its id, which is its content, so a replaced dataset's row counts when the ledger of a keeper has it in any
state but quarantined.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stoker.data.dataset import Dataset


def is_counting(row_ids: Sequence[str], kept_by: Sequence[Path]) -> npt.NDArray[np.bool_]:
    """Tell for each row whether one of the datasets in the folders `kept_by` has it too."""
    ours = _numbers(row_ids)
    counts = np.zeros(len(ours), np.bool_)
    for folder in kept_by:
        counts |= np.isin(ours, _numbers(ledger_ids(Dataset(folder))))
    return counts


def ledger_ids(dataset: Dataset) -> list[str]:
    """Return the ids of the rows of a dataset's file that are not quarantined, duplicates among them."""
    return [record["row"] for record in dataset.ledger() if record["row"] and record["state"] != "quarantined"]


def _numbers(row_ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.array([int(row, 16) for row in row_ids], dtype=np.uint64)
