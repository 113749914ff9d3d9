"""Remaining time with an interval: from this run's steps, from past runs, and from the size of a file. Pure.

From steps: look back as far as there is to go, `LEAST_WINDOW` steps at least; remaining steps times their mean. Steps in
a row are alike (a busy neighbour, a stretch of long rows), so the interval comes from the means of `_BLOCKS` blocks, not
from single steps (batch means: Schmeiser, Operations Research 30, 1982), and from a share that speed drifts by anyway.
From past runs: seconds for their size, in logarithms, since speeds differ by factors. Pauses are in none of them. How
often the intervals hold is measured by `benchmarks/eta.py`. Nothing heavy is imported: commands use it on every refresh.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LEAST_WINDOW = 50
_BLOCKS = 10
_DRIFT = 0.04
_PRIOR_SPREAD, _PRIOR_RUNS = 0.35, 3


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds that remain: the estimate and the ends of its interval."""

    seconds: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return {"seconds": round(self.seconds, 1), "low": round(self.low, 1), "high": round(self.high, 1)}


def estimate_eta(step_seconds: Sequence[float], remaining_steps: int, confidence: float = 0.8) -> Eta | None:
    """Return the remaining time, or None while fewer than two steps were seen. Non-finite times are left out."""
    if remaining_steps <= 0:
        return Eta(0.0, 0.0, 0.0)
    seen = [seconds for seconds in step_seconds[-max(LEAST_WINDOW, remaining_steps) :] if math.isfinite(seconds)]
    if len(seen) < 2:
        return None
    mean, blocks = statistics.fmean(seen), _block_means(seen)
    block_steps = len(seen) / len(blocks)
    scatter = statistics.stdev(blocks) * math.sqrt(1 / len(blocks) + block_steps / remaining_steps)
    spread = math.hypot(scatter, _DRIFT * mean)
    seconds, half = remaining_steps * mean, remaining_steps * spread * _quantile(confidence, len(blocks) - 1)
    return Eta(seconds, max(remaining_steps * min(seen) * (1 - _DRIFT), seconds - half), seconds + half)


def estimate_from_past(past: Sequence[tuple[float, float]], size: float, confidence: float = 0.8) -> Eta | None:
    """Return how long `size` takes, from past (size, seconds); None without any. Sizes may be tokens or bytes.

    A few runs say little about their spread: it is averaged with 35 %, counted as three runs (measured between runs of
    one machine on different data).
    """
    ratios = [math.log(seconds / amount) for amount, seconds in past if amount > 0 and seconds > 0]
    if not ratios or size <= 0:
        return None
    middle, n = statistics.median(ratios), len(ratios)
    squares = sum((ratio - middle) ** 2 for ratio in ratios) + _PRIOR_RUNS * _PRIOR_SPREAD**2
    spread = math.sqrt(squares / (n - 1 + _PRIOR_RUNS) * (1 + 1 / n))
    factor = math.exp(spread * _quantile(confidence, n - 1 + _PRIOR_RUNS))
    seconds = size * math.exp(middle)
    return Eta(seconds, seconds / factor, seconds * factor)


def in_turn(etas: Iterable[Eta]) -> Eta:
    """Return the time for one after the other. A machine that is slow is slow for all, so the ends add up."""
    each = list(etas)
    return Eta(sum(e.seconds for e in each), sum(e.low for e in each), sum(e.high for e in each))


def _block_means(values: Sequence[float]) -> list[float]:
    num = min(_BLOCKS, len(values))
    edges = [round(place * len(values) / num) for place in range(num + 1)]
    return [statistics.fmean(values[begin:end]) for begin, end in itertools.pairwise(edges)]


def _quantile(confidence: float, freedom: int) -> float:
    """Approximate Student's t quantile from the normal one (Abramowitz and Stegun 26.7.5, two terms)."""
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
