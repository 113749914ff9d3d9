"""How far a model's confidence can be believed: bins, expected calibration error, and what chance alone would give.

The expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017) is above zero even for a perfectly
calibrated model, the more so the fewer the items. So it stands beside the error that such a model would show with these
confidences, drawn many times (consistency resampling: Broecker and Smith, Weather and Forecasting 22, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from stoker.analysis.statistics import Floats
from stoker.analysis.understanding.marks import Marked

NUM_BINS = 10
LEAST_ITEMS = 20


@dataclass(frozen=True, slots=True)
class Bin:
    """Items whose confidence is in (low, high], the first bin with its low end."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """`error` is the expected calibration error; `by_chance` what perfect calibration would show on average.

    `separation` is the chance that a right answer has more confidence than a wrong one (AUROC); None without both.
    """

    n: int
    accuracy: float
    confidence: float
    error: float
    by_chance: float
    p_value: float
    outcome: Literal["calibrated", "overconfident", "underconfident", "miscalibrated"]
    brier: float
    separation: float | None
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reliability(judged: Sequence[Marked], confidence: float, resamples: int, seed: int = 0) -> Reliability | None:
    """Return how confidence and rightness meet; None with fewer than 20 items that have both."""
    known = [one for one in judged if one.item.confidence is not None]
    if len(known) < LEAST_ITEMS:
        return None
    sure = np.array([one.item.confidence for one in known], dtype=np.float64)
    right = np.array([bool(one.is_right) for one in known], dtype=np.float64)
    places = _places(sure)
    error = float(_errors(sure, right[None], places)[0])
    drawn = np.random.default_rng(seed).random((resamples, len(sure))) < sure
    expected = _errors(sure, drawn.astype(np.float64), places)
    p_value = (1 + int(np.sum(expected >= error - 1e-12))) / (resamples + 1)
    bins = tuple(_bin(place, sure[places == place], right[places == place], confidence) for place in np.unique(places))
    return Reliability(
        n=len(known),
        accuracy=float(right.mean()),
        confidence=float(sure.mean()),
        error=error,
        by_chance=float(expected.mean()),
        p_value=p_value,
        outcome=_outcome(sure, right, p_value, confidence),
        brier=float(np.mean((sure - right) ** 2)),
        separation=_separation(sure, right),
        bins=bins,
    )


def _outcome(
    sure: Floats, right: Floats, p_value: float, confidence: float
) -> Literal["calibrated", "overconfident", "underconfident", "miscalibrated"]:
    if p_value > 1 - confidence:
        return "calibrated"
    gap = float(sure.mean() - right.mean())
    spread = float(np.sqrt(np.sum(sure * (1 - sure)))) / len(sure)
    if abs(gap) <= 2 * spread:
        return "miscalibrated"
    return "overconfident" if gap > 0 else "underconfident"


def _places(sure: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.clip(np.ceil(sure * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)


def _errors(sure: Floats, right: Floats, places: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """Return the calibration error of each row of marks."""
    member = (places[:, None] == np.arange(NUM_BINS)).astype(np.float64)
    gaps = np.abs(right @ member - (sure @ member)[None])
    return np.asarray(gaps.sum(axis=1) / len(sure), dtype=np.float64)


def _bin(place: int, sure: Floats, right: Floats, confidence: float) -> Bin:
    interval = stats.binomtest(int(right.sum()), len(right)).proportion_ci(confidence, method="exact")
    return Bin(
        float(place) / NUM_BINS, float(place + 1) / NUM_BINS, len(right), float(sure.mean()), float(right.mean()),
        float(interval.low), float(interval.high),
    )  # fmt: skip


def _separation(sure: Floats, right: Floats) -> float | None:
    num_right = int(right.sum())
    num_wrong = len(right) - num_right
    if not num_right or not num_wrong:
        return None
    ranks = stats.rankdata(sure)
    return float((ranks[right == 1].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))
