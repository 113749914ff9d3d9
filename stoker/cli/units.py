"""Numbers as people read them on a terminal: those of `stoker.units`, and times, p-values and losses."""

from __future__ import annotations

import time

from stoker.analysis.eta import Eta
from stoker.units import count as count
from stoker.units import duration as duration
from stoker.units import energy as energy
from stoker.units import estimate as estimate
from stoker.units import interval as interval
from stoker.units import score as score
from stoker.units import signed as signed
from stoker.units import size as size
from stoker.units import sparkline as sparkline


def eta(remaining: Eta | None) -> str:
    """An estimate with its interval: "12 min 05 s (10 min 00 s to 14 min 10 s)"; None -> "-"."""
    return "-" if remaining is None else estimate(remaining.seconds, remaining.low, remaining.high)


def ago(moment: float | None) -> str:
    """A time in seconds since the epoch -> "3 min 20 s ago"."""
    return "-" if moment is None else f"{duration(max(0.0, time.time() - moment))} ago"


def clock(moment: float) -> str:
    """The local time of day of a moment."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def date_time(moment: float) -> str:
    """The local date and time of a moment, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def detectable(value: float | None, metric: str) -> str:
    return "-" if value is None else signed(value, metric).lstrip("+")


def p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float | None) -> str:
    """Any number in few characters: 1234.5 -> "1,234", 0.0123456 -> "0.01235", 2e-05 -> "2e-05"."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
