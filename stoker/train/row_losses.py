"""A step's losses by row: the labels' losses, which the step computed anyway, summed for each row in it.

Nothing is computed on the device and nothing of the training changes. Where and how they are kept: `mailbox.row_losses`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stoker.mailbox.row_losses import RowLoss


def row_losses(owners: Sequence[tuple[int, str, int]], nll_N: NDArray[np.float32]) -> list[RowLoss]:
    """Return (dataset, row, summed NLL in nats, labels) of each row; a row's sequences of one step are one visit."""
    counts = np.array([labels for _, _, labels in owners], np.int64)
    sums = np.bincount(np.repeat(np.arange(len(owners)), counts), weights=nll_N, minlength=len(owners)).tolist()
    rows: dict[tuple[int, str], tuple[float, int]] = {}
    for (dataset, row, labels), nll in zip(owners, sums, strict=True):
        before = rows.get((dataset, row), (0.0, 0))
        rows[dataset, row] = (before[0] + nll, before[1] + labels)
    return [(dataset, row, round(nll, 4), labels) for (dataset, row), (nll, labels) in rows.items() if labels]
