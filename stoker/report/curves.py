"""Curves as numbers: where each line of a plot runs. The templates draw them as SVG; a plot always comes with its table.

A plot has its own coordinates, 0 to 100 across and down, and is stretched to the room it gets. A line of many points is
thinned to the lowest and highest of each stretch, so that no spike is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]
_MOST_POINTS = 600


@dataclass(frozen=True)
class Line:
    """`path` is an SVG polyline's points; `key` is the colour's name, `last` the value at its end."""

    name: str
    key: str
    path: str
    last: float


@dataclass(frozen=True)
class Plot:
    """Lines over one axis; `top` and `bottom` are the ends of the scale, `ends` the first and last step, `marks` upright lines."""

    title: str
    lines: tuple[Line, ...]
    top: float
    bottom: float
    ends: tuple[float, float]
    marks: tuple[tuple[str, float], ...] = ()


def plot(title: str, lines: Sequence[tuple[str, str, Points]], marks: Sequence[tuple[str, float]] = ()) -> Plot | None:
    """Return a plot of (name, colour, points); None when no line has two finite points."""
    finite = [(name, key, [point for point in points if math.isfinite(point[1])]) for name, key, points in lines]
    shown = [(name, key, points) for name, key, points in finite if len(points) > 1]
    if not shown:
        return None
    xs = [x for _, _, points in shown for x, _ in points]
    ys = [y for _, _, points in shown for _, y in points]
    left, right, bottom, top = min(xs), max(xs), min(0.0, min(ys)), max(ys)
    across, down = right - left or 1.0, top - bottom or 1.0

    def place(x: float, y: float) -> str:
        return f"{100 * (x - left) / across:.2f},{100 - 100 * (y - bottom) / down:.2f}"

    drawn = tuple(
        Line(name, key, " ".join(place(x, y) for x, y in extremes(points)), points[-1][1])
        for name, key, points in shown
    )
    upright = tuple((name, round(100 * (x - left) / across, 2)) for name, x in marks if left <= x <= right)
    return Plot(title, drawn, top, bottom, (left, right), upright)


def extremes(points: Points, at_most: int = _MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most so many points, in order: of each stretch the lowest and the highest."""
    if len(points) <= at_most:
        return list(points)
    num = at_most // 2
    kept: list[tuple[float, float]] = []
    for part in range(num):
        stretch = points[part * len(points) // num : (part + 1) * len(points) // num]
        low, high = min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])
        kept += sorted({low, high})
    return kept
