"""Which file helped or hurt, from the line of versions itself: each version is its parent plus what one run trained.

The change from the parent is attributed to the file of the run. What else was in the run (replayed rows, other files)
is named beside it, since the change is of all of it together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stoker.analysis.comparison import is_decidable
from stoker.analysis.scorers import NLL
from stoker.analysis.statistics import PairedTest, compare_marks, compare_scores, holm
from stoker.analysis.understanding.influence import Outcome
from stoker.analysis.understanding.marks import MarkedSet


@dataclass(frozen=True, slots=True)
class Step:
    """A version and its parent on one benchmark. `files` are the names of what it trained anew, `replayed` of the rest."""

    version: str
    parent: str
    benchmark: str
    files: tuple[str, ...]
    replayed: tuple[str, ...]
    after: MarkedSet
    before: MarkedSet


@dataclass(frozen=True, slots=True)
class StepEffect:
    """The change of a benchmark's primary metric from parent to version; for NLL below zero helps, for scores above."""

    version: str
    parent: str
    benchmark: str
    metric: str
    files: tuple[str, ...]
    replayed: tuple[str, ...]
    n: int
    before: float
    after: float
    change: float
    low: float
    high: float
    p_value: float
    p_value_corrected: float
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def step_effects(steps: Sequence[Step], confidence: float, resamples: int) -> list[StepEffect]:
    """Return the effects in the order given, corrected for their number; steps with too few common items are left out."""
    pairs = [(step, _pair(step)) for step in steps]
    usable = [
        (step, pair)
        for step, pair in pairs
        if len(pair[0]) and is_decidable(len(pair[0]), step.after.is_binary and step.before.is_binary, confidence)
    ]
    tests = [_test(step, *pair, confidence, resamples, len(usable)) for step, pair in usable]
    corrected = holm([test.p_value for test in tests])
    return [
        StepEffect(
            step.version, step.parent, step.benchmark, step.after.primary, step.files, step.replayed, test.n,
            float(before.mean()), float(after.mean()), test.difference, test.low, test.high, test.p_value, p,
            _outcome(test.difference, p, confidence, is_lower_better=step.after.primary == NLL),
        )
        for (step, (after, before)), test, p in zip(usable, tests, corrected, strict=True)
    ]  # fmt: skip


def _pair(step: Step) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the values of the items that both have, the version's and its parent's."""
    old = {one.item.id: one.value for one in step.before.valued}
    common = [one for one in step.after.valued if one.item.id in old]
    after, before = [one.value for one in common], [old[one.item.id] for one in common]
    return np.array(after, dtype=np.float64), np.array(before, dtype=np.float64)


def _test(
    step: Step, after: np.ndarray[Any, np.dtype[np.float64]], before: np.ndarray[Any, np.dtype[np.float64]],
    confidence: float, resamples: int, num_tests: int,
) -> PairedTest:  # fmt: skip
    if step.after.is_binary and step.before.is_binary:
        return compare_marks(after, before, confidence, num_tests)
    return compare_scores(after, before, confidence, resamples, num_tests=num_tests)


def _outcome(change: float, p_value: float, confidence: float, *, is_lower_better: bool) -> Outcome:
    if p_value > 1 - confidence + 1e-12 or change == 0:
        return "no-difference"
    return "helps" if (change < 0) == is_lower_better else "hurts"
