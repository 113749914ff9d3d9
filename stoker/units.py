"""Numbers as people read them, wherever they are read: sizes, durations, scores, intervals, a sparkline. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_METRICS = ("nll", "perplexity")


def size(num_bytes: float) -> str:
    """1536 -> "1.5 kB"; powers of 1000, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(num_bytes) < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def duration(seconds: float | None) -> str:
    """75 -> "1 min 15 s"; None -> "-"."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def estimate(seconds: float, low: float, high: float) -> str:
    """(725, 600, 850) -> "12 min 05 s (10 min 00 s to 14 min 10 s)"; without its ends where they read the same."""
    ends = duration(low), duration(high)
    return duration(seconds) + (f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else "")


def score(value: float | None, metric: str) -> str:
    """A share as a percentage, NLL and perplexity with three decimals."""
    if value is None:
        return "-"
    return f"{value:.3f}" if metric in _PLAIN_METRICS else f"{100 * value:.1f} %"


def signed(value: float | None, metric: str) -> str:
    """A difference with its sign: percentage points for shares, the metric's own unit otherwise."""
    if value is None:
        return "-"
    return f"{value:+.3f}" if metric in _PLAIN_METRICS else f"{100 * value:+.1f}"


def interval(low: float | None, high: float | None, metric: str) -> str:
    return "-" if low is None or high is None else f"{signed(low, metric)} to {signed(high, metric)}"


def count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def energy(joules: float) -> str:
    """3600 -> "1 Wh"; in joules below a tenth of a watt-hour, in kilowatt-hours from one on."""
    if joules < 360:
        return f"{joules:.3g} J"
    return f"{joules / 3600:.3g} Wh" if joules < 3.6e6 else f"{joules / 3.6e6:.4g} kWh"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Return the values as bars, averaged down to `width`; "" for none."""
    if not values:
        return ""
    num = min(width, len(values))
    edges = [round(index * len(values) / num) for index in range(num + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)
