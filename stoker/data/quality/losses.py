"""What a row's own losses in training say: still high at the end, or risen after it was learned.

A visit's loss is compared with the losses of its time: less the median of the visits around it in the same run, so that the
falling curve of the run says nothing about a row; and with rows of about as many trained tokens, since a mean of few varies more. High at the
end: the robust z-score of the last visit. Risen: a forgetting event (Toneva et al. 2019, arXiv 1812.05159), which for text is a visit
whose loss lies RISE_NATS and RISE_Z above the row's lowest before. A high loss may as well mean a hard row, the best there is,
so losses never make "remove", and one event alone does not make "review".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from stoker.data.quality.robust import robust_z_among_alike
from stoker.data.quality.signals import Signal
from stoker.mailbox.row_losses import Visits

Floats = npt.NDArray[np.float64]
MIN_VISITS = 30
WINDOW_VISITS = 201
HIGH_Z, VERY_HIGH_Z, HIGH_NATS = 4.0, 8.0, 0.5
RISE_Z, RISE_NATS = 4.0, 0.5


def find_high_losses(ids: npt.NDArray[np.uint64], runs: Sequence[Visits]) -> Iterator[Signal]:
    """Yield the signals of rows (their ids as numbers) from the visits of the runs that trained them, oldest run first."""
    row, loss, excess, tokens = _visits(ids, runs)
    if len(row) < MIN_VISITS:
        return
    order = np.argsort(row, kind="stable")
    row, loss, excess, tokens = row[order], loss[order], excess[order], tokens[order]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    ends = np.concatenate((starts[1:], [len(row)])) - 1
    z = robust_z_among_alike(excess[ends], tokens[ends], 0.05)
    for place in np.flatnonzero((z >= HIGH_Z) & (excess[ends] >= HIGH_NATS)).tolist():
        last = ends[place]
        words = f"its loss is still {loss[last]:.2f} nats a token after training, {excess[last]:.2f} above its neighbours in time"
        yield Signal(int(row[last]), "high-loss", 0.5 if z[place] >= VERY_HIGH_Z else 0.4, words)
    yield from _risen(row, loss, excess, tokens, starts)


def _risen(row: Any, loss: Floats, excess: Floats, tokens: Floats, starts: Any) -> Iterator[Signal]:
    """Yield the rows with forgetting events, once each."""
    best = _lowest_before(excess, starts)
    later = np.flatnonzero(best >= 0)
    rise = excess[later] - excess[best[later]]
    z = robust_z_among_alike(rise, tokens[later], 0.05)
    raw = loss[later] - loss[best[later]]
    events = later[(rise >= RISE_NATS) & (raw >= RISE_NATS) & (z >= RISE_Z)]
    for forgotten, count in zip(*np.unique(row[events], return_counts=True), strict=True):
        visit = int(events[row[events] == forgotten][-1])
        words = f"its loss rose again, from {loss[best[visit]]:.2f} to {loss[visit]:.2f} nats a token ({count} times in training)"
        yield Signal(int(forgotten), "rising-loss", 0.4 if count > 1 else 0.3, words)


def _lowest_before(excess: Floats, starts: Any) -> npt.NDArray[np.int64]:
    """Return for each visit the visit of the same row before it with the lowest excess; -1 for a row's first."""
    best = np.full(len(excess), -1, np.int64)
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(excess)], strict=True):
        lowest = start
        for visit in range(start + 1, end):
            best[visit] = lowest
            if excess[visit] < excess[lowest]:
                lowest = visit
    return best


def _visits(
    ids: npt.NDArray[np.uint64], runs: Sequence[Visits]
) -> tuple[npt.NDArray[np.int64], Floats, Floats, Floats]:
    """Return row, loss, excess over the time's median and tokens of every visit of the rows, in the order of training."""
    order = np.argsort(ids, kind="stable")
    found: list[tuple[Any, Any, Any, Any]] = []
    for visits in runs:
        if len(visits.row) == 0:
            continue
        loss = visits.nll / np.maximum(visits.tokens, 1)
        excess = loss - median_filter(loss, size=min(WINDOW_VISITS, len(loss)), mode="nearest")
        place = np.searchsorted(ids[order], visits.row)
        place[place == len(ids)] = 0
        row = order[place]
        is_ours = (ids[row] == visits.row) & np.isfinite(loss)
        found.append((row[is_ours], loss[is_ours], excess[is_ours], visits.tokens[is_ours]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0)
    rows, losses, excesses, tokens = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows.astype(np.int64), losses, excesses, tokens.astype(np.float64)
