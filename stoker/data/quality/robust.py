"""Robust z-scores: how far a value is from the median, in units that outliers don't inflate.

0.6745 (x - median) / MAD, Iglewicz and Hoaglin 1993, "How to detect and handle outliers": a normal variable gives its own z. Where
more than half of the values are equal the MAD is 0; the mean absolute deviation takes its place (z = (x - median) / (1.2533 MeanAD)).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_GROUP_ROWS = 200
_MAX_GROUPS = 12


def robust_z(values: Floats, least_spread: float = 0.0) -> Floats:
    """Return the z-scores of values; a standard deviation under `least_spread` counts as that. NaN stays NaN."""
    if len(values) == 0 or np.isnan(values).all():
        return np.full(len(values), np.nan)
    distances = values - np.nanmedian(values)
    spread = float(np.nanmedian(np.abs(distances))) / 0.6745
    if spread == 0.0:
        spread = 1.2533 * float(np.nanmean(np.abs(distances)))
    spread = max(spread, least_spread)
    return np.asarray(distances / spread if spread else np.zeros_like(distances))


def robust_z_among_alike(values: Floats, by: Floats, least_spread: float = 0.0) -> Floats:
    """Return each value's z-score among the rows that are alike in `by`: quantile groups of at least _GROUP_ROWS rows."""
    num_groups = int(np.clip(len(values) // _GROUP_ROWS, 1, _MAX_GROUPS))
    z = np.full(len(values), np.nan)
    for group in np.array_split(np.argsort(by, kind="stable"), num_groups):
        z[group] = robust_z(values[group], least_spread)
    return z
