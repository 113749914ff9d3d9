"""Fewer points that draw the same curve: MinMaxLTTB, with the gaps kept.

Largest-Triangle-Three-Buckets picks, of each stretch, the point that a curve through its neighbours would miss most
(S. Steinarsson, Downsampling Time Series for Visual Representation, 2013); MinMax preselection makes it fast (J. Van Der
Donckt et al., arXiv 2305.00332). Only points that were measured are returned, so a peak stays a peak. numpy is loaded
when there is something to leave out.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

LEAST = 3
"""Both ends and one between: the fewest points that the method can choose."""
GAP_SHARE = 4
"""At most one point in so many is spent on marking gaps, the longest first."""


def downsample(ats: array[int], values: array[float], points: int) -> tuple[list[int], list[float | None]]:
    """Return at most `points` of the points (0: all), ends included; a value that is not finite is None."""
    if not points or len(ats) <= points:
        return ats.tolist(), [value if math.isfinite(value) else None for value in values]
    import numpy as np
    from tsdownsample import MinMaxLTTBDownsampler

    x, y = np.frombuffer(ats, np.int64), np.frombuffer(values, np.float64)
    is_finite = np.isfinite(y)
    if is_finite.all():
        kept = MinMaxLTTBDownsampler().downsample(x, y, n_out=max(points, LEAST))
        return x[kept].tolist(), y[kept].tolist()
    finite = np.flatnonzero(is_finite)
    gaps = _gaps(np.flatnonzero(~is_finite).tolist(), points // GAP_SHARE)
    room = max(points - len(gaps), LEAST)
    if len(finite) > room:
        finite = finite[MinMaxLTTBDownsampler().downsample(x[finite], y[finite], n_out=room)]
    kept = np.union1d(finite, np.array(gaps, np.int64))
    return x[kept].tolist(), [value if math.isfinite(value) else None for value in y[kept].tolist()]


def _gaps(missing: Sequence[int], limit: int) -> list[int]:
    """Return the first index of each stretch of missing ones; of too many stretches the longest."""
    stretches: list[list[int]] = []
    for index in missing:
        if stretches and index == stretches[-1][1] + 1:
            stretches[-1][1] = index
        else:
            stretches.append([index, index])
    stretches.sort(key=lambda stretch: stretch[0] - stretch[1])
    return sorted(first for first, _ in stretches[:limit])
