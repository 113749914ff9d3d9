"""Remaining time from recent step times, with an interval. Pure; the caller chooses the window (30-100 steps).

The estimate is remaining steps times the mean of the window. The interval is the prediction interval of a sum of
independent future steps: their own scatter, and the uncertainty of the mean, which dominates far from the end
(Student t, window - 1 degrees of freedom). A change of speed later (a longer file, a busy neighbour) is not foreseen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds that remain: the estimate and the ends of its interval."""

    seconds: float
    low: float
    high: float


def estimate_eta(step_seconds: Sequence[float], remaining_steps: int, confidence: float = 0.8) -> Eta | None:
    """Return the remaining time, or None while fewer than two steps were seen. Non-finite times are left out."""
    if remaining_steps <= 0:
        return Eta(0.0, 0.0, 0.0)
    window = np.asarray([seconds for seconds in step_seconds if math.isfinite(seconds)], dtype=np.float64)
    if len(window) < 2:
        return None
    mean, deviation = float(window.mean()), float(window.std(ddof=1))
    scatter = deviation * math.sqrt(remaining_steps + remaining_steps**2 / len(window))
    half = float(stats.t.ppf((1 + confidence) / 2, len(window) - 1)) * scatter
    seconds = remaining_steps * mean
    return Eta(seconds, max(remaining_steps * float(window.min()), seconds - half), seconds + half)
