"""What times and sizes tell whoever watches a worker from outside: slower, memory that fills, no disk.

Pure functions of recorded (seconds, value) pairs: nothing here reads a clock. The caller keeps the readings, and decides
by a latch whether to tell a finding again. Windows: throughput-drop within `RECENT` readings of a lasting drop;
memory-trend as soon as `LEAST_READINGS` readings show a rise that reaches the limit within the horizon.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from stoker.analysis.detectors.finding import Finding
from stoker.analysis.trend import Point, rising_sigmas, theil_sen, thinned

RECENT = 16
LEAST_READINGS = 8
_LEAST_BEFORE = 32
_MOST_READINGS = 60
_RISE_SIGMAS = 2.33


def throughput_drop(rates: Sequence[Point], drop: float = 0.4, step: int = 0) -> Finding | None:
    """Compare the median of the last 16 rates (tokens a second) with the median of those before them.

    `drop` is the share that is lost: 0.4 is told below 60 % of the usual rate. Needs 48 readings.
    """
    values = [value for _, value in rates if math.isfinite(value)]
    if len(values) < _LEAST_BEFORE + RECENT:
        return None
    usual, now = statistics.median(values[:-RECENT]), statistics.median(values[-RECENT:])
    if usual <= 0 or now > usual * (1 - drop):
        return None
    text = f"Training is slower: {now:,.0f} tokens/s over the last {RECENT} readings, {usual:,.0f} before them."
    return Finding("throughput-drop", "warn", step, text, {"now": now, "before": usual, "share": now / usual})


def memory_trend(used: Sequence[Point], limit: float, horizon_seconds: float, step: int = 0) -> Finding | None:
    """Tell when memory (bytes) rises steadily and reaches `limit` within the horizon at this pace.

    Theil-Sen's line, so that a burst is no trend, and Mann-Kendall's test, so that noise is none.
    """
    points = thinned([point for point in used if math.isfinite(point[1])], _MOST_READINGS)
    if len(points) < LEAST_READINGS or rising_sigmas([value for _, value in points]) < _RISE_SIGMAS:
        return None
    slope, _ = theil_sen(points)
    now = points[-1][1]
    seconds_left = max(0.0, limit - now) / slope if slope > 0 else math.inf
    if seconds_left > horizon_seconds:
        return None
    text = (
        f"Memory fills: {now / 1e9:.2f} GB of {limit / 1e9:.2f} GB, {slope * 60 / 1e6:,.1f} MB more a minute, "
        f"full in about {seconds_left / 60:.0f} minutes."
    )
    numbers = {"used": now, "limit": limit, "bytes_per_second": slope, "seconds_left": seconds_left}
    return Finding("memory-trend", "warn", step, text, numbers)


def disk_low(free_bytes: float, needed_bytes: float, step: int = 0) -> Finding | None:
    """Tell when less is free than the next checkpoint and what must stay free need together."""
    if free_bytes >= needed_bytes:
        return None
    text = f"The disk is nearly full: {free_bytes / 1e9:.2f} GB free, {needed_bytes / 1e9:.2f} GB needed."
    return Finding("disk-low", "critical", step, text, {"free_bytes": free_bytes, "needed_bytes": needed_bytes})
