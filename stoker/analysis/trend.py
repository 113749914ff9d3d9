"""The trend of a few points: a line that a third of wrong points does not move, and whether it rises at all.

Theil-Sen (Sen, JASA 63, 1968, 1379-1389): the median of the slopes of all pairs. Mann-Kendall (Kendall, 1975): how many
more pairs rise than fall, in standard errors. Both look at every pair: thin long series first.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Point = tuple[float, float]


def theil_sen(points: Sequence[Point]) -> tuple[float, float]:
    """Return the slope and the height of the line at the points' median x. Two different x are needed."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for place, later in enumerate(points)
        for earlier in points[:place]
        if later[0] != earlier[0]
    ]
    slope = statistics.median(slopes)
    middle = statistics.median(x for x, _ in points)
    return slope, statistics.median(y - slope * (x - middle) for x, y in points)


def rising_sigmas(values: Sequence[float]) -> float:
    """Return Mann-Kendall's z: above 2.33 a rise is no chance, 99 times of 100. 0 for fewer than four values."""
    n = len(values)
    if n < 4:
        return 0.0
    score = sum((b > a) - (b < a) for place, b in enumerate(values) for a in values[:place])
    return score / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)


def thinned(points: Sequence[Point], at_most: int) -> list[Point]:
    """Return so many points at equal distances, the last among them."""
    if len(points) <= at_most:
        return list(points)
    stride = (len(points) - 1) / (at_most - 1)
    return [points[round(place * stride)] for place in range(at_most)]
