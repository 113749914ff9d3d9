"""Remaining time from recent step times, with an interval. Pure; the caller chooses the window (30-100 steps).

The estimate is remaining steps times the mean of the window. The interval is the prediction interval of a sum of
independent future steps: their own scatter, and the uncertainty of the mean, which dominates far from the end. A
change of speed later (a longer file, a busy neighbour) is not foreseen. Nothing heavy is imported: the command line
uses it on every refresh.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


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
    window = [seconds for seconds in step_seconds if math.isfinite(seconds)]
    if len(window) < 2:
        return None
    mean = statistics.fmean(window)
    scatter = statistics.stdev(window, mean) * math.sqrt(remaining_steps + remaining_steps**2 / len(window))
    half = _student_quantile((1 + confidence) / 2, len(window) - 1) * scatter
    seconds = remaining_steps * mean
    return Eta(seconds, max(remaining_steps * min(window), seconds - half), seconds + half)


def _student_quantile(probability: float, freedom: int) -> float:
    """Approximate Student's t quantile from the normal one (Abramowitz and Stegun 26.7.5, two terms)."""
    z = statistics.NormalDist().inv_cdf(probability)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
