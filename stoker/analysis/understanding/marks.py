"""Items with their marks: the value by which an item is judged, and whether that counts as right.

What was left out is not here. A benchmark judged by likelihood alone has values (NLL, lower is better) and, where
answers were scored beside it, marks of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stoker.analysis.scorers import NLL
from stoker.analysis.statistics import Floats
from stoker.mailbox.benches import BenchItem

_DUST = 1e-9


@dataclass(frozen=True, slots=True)
class Marked:
    """An item, its value on the metric that decides, and whether it is right; None: nothing says so."""

    item: BenchItem
    value: float | None
    is_right: bool | None

    @property
    def given(self) -> str | None:
        """What the model answered: generated, or chosen."""
        return self.item.answer if self.item.answer is not None else self.item.choice


@dataclass(frozen=True, slots=True)
class MarkedSet:
    """A model's items on one benchmark. `mark_metric` is what rightness is read from: None when nothing was scored."""

    primary: str
    mark_metric: str | None
    items: tuple[Marked, ...]
    num_left_out: int

    @property
    def is_lower_better(self) -> bool:
        return self.primary == NLL

    @property
    def is_binary(self) -> bool:
        """Every value is 0 or 1."""
        return not self.is_lower_better and all(one.value in (0.0, 1.0) for one in self.valued)

    @property
    def valued(self) -> list[Marked]:
        return [one for one in self.items if one.value is not None]

    @property
    def judged(self) -> list[Marked]:
        return [one for one in self.items if one.is_right is not None]

    @property
    def wrong(self) -> list[Marked]:
        return [one for one in self.items if one.is_right is False]


def mark(items: Sequence[BenchItem], primary: str, right_at: float = 1.0) -> MarkedSet:
    """Return the items that count; one is right from a score of `right_at` on."""
    counted = [item for item in items if item.left_out is None]
    metric: str | None = primary
    if primary == NLL:
        metric = next((name for item in counted for name in item.scores if name != NLL), None)
    elif not any(primary in item.scores for item in counted):
        metric = None
    marked = tuple(_marked(item, primary, metric, right_at) for item in counted)
    return MarkedSet(primary, metric, marked, len(items) - len(counted))


def values_of(items: Sequence[Marked]) -> Floats:
    """Return the values as an array."""
    return np.array([one.value for one in items if one.value is not None], dtype=np.float64)


def _marked(item: BenchItem, primary: str, metric: str | None, right_at: float) -> Marked:
    value = item.nll if primary == NLL else item.scores.get(primary)
    score = item.scores.get(metric) if metric is not None else None
    return Marked(item, value, None if score is None else score >= right_at - _DUST)
