"""Remaining time with an interval: from this run's steps, from past runs, and from the size of a file. Pure.

From steps: look back as far as there is to go, `LEAST_WINDOW` steps at least; remaining steps times their mean. The
interval is a factor either way, made of the scatter of single steps, of how much the means of ten blocks of steps differ
beyond that scatter (a busy neighbour, a stretch of long rows: batch means, Schmeiser, Operations Research 30, 1982), which
grows with how much further there is to go than was seen, and of a share that speed drifts by anyway. The two constants
are fitted to recorded runs; `benchmarks/eta.py` measures how often the intervals hold. From past runs: seconds for their
size, in logarithms, since speeds differ by factors. Pauses are in none of them. Nothing heavy is imported: commands use
it on every refresh.
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
_DRIFT, _DRIFT_OF_BLOCKS = 0.04, 1.5
_WIDEST = 3.0
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
    mean = statistics.fmean(seen)
    if mean <= 0:
        return None
    blocks = _blocks(seen)
    scatter = statistics.variance(seen) * (1 / len(seen) + 1 / remaining_steps)
    regimes = _DRIFT_OF_BLOCKS * _between(blocks) * (1 + remaining_steps / len(seen))
    spread = math.sqrt((scatter + regimes) / mean**2 + _DRIFT**2)
    factor = math.exp(min(_WIDEST, spread * _quantile(confidence, len(blocks) - 1)))
    seconds = remaining_steps * mean
    return Eta(seconds, seconds / factor, seconds * factor)


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


def _blocks(values: Sequence[float]) -> list[Sequence[float]]:
    num = min(_BLOCKS, len(values))
    edges = [round(place * len(values) / num) for place in range(num + 1)]
    return [values[begin:end] for begin, end in itertools.pairwise(edges)]


def _between(blocks: Sequence[Sequence[float]]) -> float:
    """Return the variance of the blocks' means beyond what the scatter within them explains."""
    within = statistics.fmean(statistics.variance(block) / len(block) if len(block) > 1 else 0.0 for block in blocks)
    return max(0.0, statistics.variance(map(statistics.fmean, blocks)) - within)


def _quantile(confidence: float, freedom: int) -> float:
    """Approximate Student's t quantile from the normal one (Abramowitz and Stegun 26.7.5, two terms)."""
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
