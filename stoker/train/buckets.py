"""How sequences share an optimizer step: length buckets (padded), best-fit packing (no padding), or a fixed number of them.

The first two take lengths and give steps of indices, each within a budget of computed positions; a sequence longer
than the budget is a step of its own. Lengths are sorted among a window of steps only, so that what was mixed stays mixed.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_WINDOW_STEPS = 256  # lengths are sorted among about this many steps, so that old and new stay mixed over the run
_JITTER = 0.005  # lengths are sorted with this much noise, so that rows meet other rows in the next epoch
_LEAST_FILL = 0.97  # a step that is at least half full ends before its padding passes the rest


@dataclass(frozen=True)
class StepSize:
    """What a step holds: `rows` sequences, or where that is None as many as compute at most `tokens` positions."""

    tokens: int
    rows: int | None
    is_packed: bool

    def num_windows(self, lengths: Ints) -> int:
        num_steps = len(lengths) / self.rows if self.rows else int(lengths.sum()) / self.tokens
        return max(1, round(num_steps / _WINDOW_STEPS))

    def fill(self, lengths: Ints, rng: np.random.Generator) -> list[Ints]:
        if self.rows:
            return count_steps(lengths, self.rows, rng)
        return (pack_steps if self.is_packed else fill_steps)(lengths, self.tokens, rng)


def lay_out(lengths: Ints, size: StepSize, rng: np.random.Generator) -> list[Ints]:
    """Return steps of indices in the order in which they are trained, laid out window after window."""
    num_windows = size.num_windows(lengths)
    window = np.minimum((np.cumsum(lengths) - 1) * num_windows // int(lengths.sum()), num_windows - 1)
    steps: list[Ints] = []
    for number in range(num_windows):
        inside = np.flatnonzero(window == number)
        filled = size.fill(lengths[inside], rng)
        steps += [inside[filled[which]] for which in rng.permutation(len(filled))]
    return steps


def count_steps(lengths: Ints, rows: int, rng: np.random.Generator) -> list[Ints]:
    """Group sequences of like length, `rows` to a step; the last may hold fewer."""
    order = _jittered_descending(lengths, rng)
    return [order[start : start + rows] for start in range(0, len(order), rows)]


def fill_steps(lengths: Ints, budget: int, rng: np.random.Generator) -> list[Ints]:
    """Group sequences of like length; a step computes rows times its longest row, at most `budget`."""
    order = _jittered_descending(lengths, rng)
    steps: list[Ints] = []
    start = longest = total = 0
    sorted_lengths = lengths[order].tolist()
    for end, length in enumerate(sorted_lengths):
        width, rows = max(longest, length), end - start + 1
        is_wasteful = longest * (rows - 1) * 2 >= budget and total + length < _LEAST_FILL * width * rows
        if rows > 1 and (width * rows > budget or is_wasteful):
            steps.append(order[start:end])
            start, longest, total = end, length, length
        else:
            longest, total = width, total + length
    if start < len(order):
        steps.append(order[start:])
    return _share_the_last(steps, lengths, budget)


def pack_steps(lengths: Ints, budget: int, rng: np.random.Generator) -> list[Ints]:
    """Pack sequences into bins of `budget` tokens: best fit, longest first (Ding et al. 2024, arXiv 2404.10830)."""
    order = _jittered_descending(lengths, rng)
    room: list[tuple[int, int]] = []  # (tokens left, bin), ascending
    bins: list[list[int]] = []
    for index in order.tolist():
        length = int(lengths[index])
        at = bisect.bisect_left(room, (length, -1))
        if at == len(room):
            bins.append([])
            left, which = budget, len(bins) - 1
        else:
            left, which = room.pop(at)
        bins[which].append(index)
        bisect.insort(room, (max(0, left - length), which))
    return [np.array(content, dtype=np.int64) for content in bins]


def _jittered_descending(lengths: Ints, rng: np.random.Generator) -> Ints:
    noise = 1 + _JITTER * (2 * rng.random(len(lengths)) - 1)
    return np.asarray(np.argsort(-lengths * noise, kind="stable"), dtype=np.int64)


def _share_the_last(steps: list[Ints], lengths: Ints, budget: int) -> list[Ints]:
    """Split the last two steps evenly when the last is a small rest: a tiny step is a noisy one."""
    if len(steps) < 2 or 2 * lengths[steps[-1]].sum() >= lengths[steps[-2]].sum():
        return steps
    both = np.concatenate(steps[-2:])
    half = int(np.searchsorted(np.cumsum(lengths[both]), lengths[both].sum() / 2)) + 1
    halves = [part for part in (both[:half], both[half:]) if len(part)]
    if any(len(part) * lengths[part].max() > budget for part in halves):
        return steps
    return [*steps[:-2], *halves]
