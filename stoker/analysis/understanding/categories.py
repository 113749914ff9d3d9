"""Each category's score with its interval, and which categories differ from all the rest by more than chance.

Right or wrong: Fisher's exact test of the category against the rest. Graded scores and NLL: a permutation test of the
difference of the two means. p-values are corrected for the number of categories (Holm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from stoker.analysis.statistics import Floats, holm, mean_interval, smallest_sample
from stoker.analysis.understanding.marks import MarkedSet

Standing = Literal["better", "worse", "no-difference"]
_CHUNK_VALUES = 1 << 21


@dataclass(frozen=True, slots=True)
class Category:
    """`difference` is its mean minus that of the rest; None where there is no rest. No interval: too few items."""

    name: str
    n: int
    score: float
    low: float | None
    high: float | None
    difference: float | None
    p_value: float | None
    p_value_corrected: float | None
    outcome: Standing

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def overall(marked: MarkedSet, confidence: float, resamples: int) -> tuple[float, float | None, float | None] | None:
    """Return the mean of everything and its interval; None of nothing."""
    values = np.array([one.value for one in marked.valued], dtype=np.float64)
    if not len(values):
        return None
    return float(values.mean()), *_interval(values, marked.is_binary, confidence, resamples)


def by_category(marked: MarkedSet, confidence: float, resamples: int, seed: int = 0) -> list[Category]:
    """Return the categories, the weakest first; [] when no item has one."""
    names = np.array([one.item.category or "" for one in marked.valued], dtype=object)
    values = np.array([one.value for one in marked.valued], dtype=np.float64)
    known = sorted({name for name in names if name})
    inside = [values[names == name] for name in known]
    rest = [values[names != name] for name in known]
    tests = [
        _p_value(mine, others, is_binary=marked.is_binary, resamples=resamples, seed=seed) if len(others) else None
        for mine, others in zip(inside, rest, strict=True)
    ]
    corrected = iter(holm([p for p in tests if p is not None]))
    found = [
        _category(name, mine, others, p, next(corrected) if p is not None else None, marked, confidence, resamples)
        for name, mine, others, p in zip(known, inside, rest, tests, strict=True)
    ]
    sign = -1.0 if marked.is_lower_better else 1.0
    return sorted(found, key=lambda one: (sign * one.score, one.name))


def _category(
    name: str, mine: Floats, others: Floats, p: float | None, p_corrected: float | None, marked: MarkedSet,
    confidence: float, resamples: int,
) -> Category:  # fmt: skip
    difference = float(mine.mean() - others.mean()) if len(others) else None
    outcome: Standing = "no-difference"
    if difference and p_corrected is not None and p_corrected <= 1 - confidence + 1e-12:
        outcome = "better" if (difference > 0) != marked.is_lower_better else "worse"
    low, high = _interval(mine, marked.is_binary, confidence, resamples)
    return Category(name, len(mine), float(mine.mean()), low, high, difference, p, p_corrected, outcome)


def _interval(values: Floats, is_binary: bool, confidence: float, resamples: int) -> tuple[float | None, float | None]:
    if not is_binary and len(values) < smallest_sample(confidence):
        return None, None
    return mean_interval(values, confidence, resamples, is_binary=is_binary)


def _p_value(mine: Floats, others: Floats, *, is_binary: bool, resamples: int, seed: int) -> float:
    if is_binary:
        table = np.array([[int(side.sum()), int(len(side) - side.sum())] for side in (mine, others)])
        return float(stats.fisher_exact(table).pvalue)
    return _permutation_p(mine, others, resamples, seed)


def _permutation_p(mine: Floats, others: Floats, resamples: int, seed: int) -> float:
    """Return the share of random choices of as many items whose mean is as far from the whole's (two-sided)."""
    pooled = np.concatenate([mine, others])
    centre, rng = pooled.mean(), np.random.default_rng(seed)
    observed = abs(mine.mean() - centre) - 1e-12 * max(1.0, abs(centre))
    num_beyond = 0
    for num in _chunks(resamples, len(pooled)):
        shuffled = rng.permuted(np.tile(pooled, (num, 1)), axis=1)[:, : len(mine)]
        num_beyond += int(np.sum(np.abs(shuffled.mean(axis=1) - centre) >= observed))
    return (num_beyond + 1) / (resamples + 1)


def _chunks(resamples: int, n: int) -> Sequence[int]:
    size = max(1, _CHUNK_VALUES // n)
    return [min(size, resamples - start) for start in range(0, resamples, size)]
