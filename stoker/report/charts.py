"""Charts as numbers: where each bar stands. The templates draw them as SVG; a chart always comes with its table.

A chart has its own coordinates, 0 to 100 across and down, and is stretched to the room it gets, so no text is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_GAP_SHARE = 0.08
_LEAST_LENGTH = 0.8


@dataclass(frozen=True)
class Bar:
    """One bar: its name, what it counts, its share of all, and its place in the chart."""

    name: str
    number: float
    share: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """A curve: `points` as an SVG polyline, the ends of both axes as numbers."""

    title: str
    points: str
    first: float
    last: float
    low: float
    high: float


@dataclass(frozen=True)
class Span:
    """An interval around a mark, on an axis whose middle is zero: places across, 0 to 100."""

    low: float
    high: float
    mark: float


@dataclass(frozen=True)
class Chart:
    """Bars side by side. `what` is counted; `ends` are the names below the first and the last bar."""

    title: str
    what: str
    bars: tuple[Bar, ...]
    largest: float
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def ends(self) -> tuple[str, str]:
        return self.bars[0].name, self.bars[-1].name


def histogram(
    title: str, bins: Sequence[Sequence[int]], what: str, quantiles: dict[str, int] | None = None
) -> Chart | None:
    """Return standing bars for [lowest, highest, how many]; None for none, or where all have one value."""
    filled = [place for place, (_, _, number) in enumerate(bins) if number]
    if not filled or (len(filled) == 1 and bins[filled[0]][0] == bins[filled[0]][1]):
        return None
    shown = bins[filled[0] : filled[-1] + 1]
    total, largest = sum(one[2] for one in shown), max(one[2] for one in shown)
    slot = 100 / len(shown)
    bars = []
    for place, (low, high, number) in enumerate(shown):
        height = max(_LEAST_LENGTH, 100 * number / largest) if number else 0.0
        x, width = slot * (place + _GAP_SHARE / 2), slot * (1 - _GAP_SHARE)
        bars.append(Bar(span(low, high), number, number / total, *_rounded(x, 100 - height, width, height)))
    return Chart(title, what, tuple(bars), largest, _quantile_facts(quantiles))


def lying_bars(counts: Sequence[tuple[str, float]], total: float) -> tuple[Bar, ...]:
    """Return one bar for each name, from the left; the whole width is `total`, so a bar's length is its share."""
    bars = []
    for name, number in counts:
        share = min(1.0, number / total) if total else 0.0
        bars.append(Bar(name, number, share, *_rounded(0, 0, max(_LEAST_LENGTH, 100 * share) if number else 0, 100)))
    return tuple(bars)


def stacked_bar(counts: Sequence[tuple[str, int]]) -> tuple[Bar, ...]:
    """Return the parts of one bar, one behind the other, those of nothing too."""
    total = sum(number for _, number in counts) or 1
    bars, x = [], 0.0
    for name, number in counts:
        width = 100 * number / total
        bars.append(Bar(name, number, number / total, *_rounded(x, 0, width, 100)))
        x += width
    return tuple(bars)


def line(title: str, points: Sequence[tuple[float, float]]) -> Line | None:
    """Return a curve through (x, y), x ascending; None for fewer than two points, which draw none."""
    if len(points) < 2:
        return None
    across, up = [x for x, _ in points], [y for _, y in points]
    low, high = min(up), max(up)
    width, height = (across[-1] - across[0]) or 1.0, (high - low) or 1.0
    places = (f"{100 * (x - across[0]) / width:.2f},{100 - 100 * (y - low) / height:.2f}" for x, y in points)
    return Line(title, " ".join(places), across[0], across[-1], low, high)


def spans(intervals: Sequence[tuple[float, float, float] | None], least_reach: float = 0.0) -> list[Span | None]:
    """Return (low, high, mark) of each on one scale: as wide to the left of zero as to the right, at least `least_reach`."""
    reach = max((abs(end) for each in intervals if each for end in each), default=0.0)
    reach = max(reach, least_reach) or 1.0
    return [Span(*(round(50 + 50 * end / reach, 2) for end in each)) if each else None for each in intervals]


def span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}\u2013{high:,}"


def _rounded(*places: float) -> tuple[float, float, float, float]:
    x, y, width, height = (round(place, 2) for place in places)
    return x, y, width, height


def _quantile_facts(quantiles: dict[str, int] | None) -> tuple[tuple[str, str], ...]:
    names = {"min": "least", "p50": "median", "p90": "90 % up to", "p99": "99 % up to", "max": "most"}
    return tuple((names[key], f"{(quantiles or {})[key]:,}") for key in names if key in (quantiles or {}))
