"""Curves on a terminal: a braille chart with its axes, as wide and high as it is given.

A character is two dots wide and four high. The range of the vertical axis leaves out lone peaks that would flatten all the
rest; they are drawn at the edge and named. A value that is None breaks the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.cli import units

if TYPE_CHECKING:
    from rich.text import Text

_LABEL = 9
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_PEAK = 3.0
"""A value further above the bulk (0.5 to 99.5 % of them) than so many times its height is a lone peak."""


@dataclass(frozen=True)
class Curve:
    """Points in ascending order; a later curve lies over an earlier one. `is_line`: joined, else dots alone."""

    at: Sequence[int]
    value: Sequence[float | None]
    style: str
    is_line: bool = True


def chart(curves: Sequence[Curve], width: int, height: int, first: int, last: int) -> Text:
    """Return `height` lines of `width` characters: the curves from step `first` to `last`, both axes labelled."""
    from rich.text import Text

    low, high, peak = limits([value for curve in curves for value in curve.value if value is not None])
    rows = height - 1
    canvas = _Canvas(max(width - _LABEL - 1, 2), max(rows, 1), (first, max(last, first + 1)), (low, high))
    for curve in curves:
        canvas.draw(curve)
    text = Text(no_wrap=True, overflow="crop")
    labels = {0: high, rows - 1: low} | (
        {rows // 2: high + (low - high) * (rows // 2) / (rows - 1)} if rows > 4 else {}
    )
    for row in range(rows):
        label = units.number(labels[row]) if row in labels else ""
        text.append(f"{label:>{_LABEL}}", "dim").append("┤" if row in labels else "│", "dim")
        canvas.append_row(text, row)
        text.append("\n")
    text.append(_steps_axis(width, first, last, peak), "dim")
    return text


def limits(values: Sequence[float]) -> tuple[float, float, float | None]:
    """Return the lowest and highest value to draw, and the highest of all if it is left out as a lone peak."""
    if not values:
        return 0.0, 1.0, None
    ordered = sorted(values)
    bulk_low, bulk_high = ordered[int(0.005 * (len(ordered) - 1))], ordered[int(0.995 * (len(ordered) - 1))]
    bound = bulk_high + _PEAK * (bulk_high - bulk_low)
    low, high, peak = ordered[0], ordered[-1], None
    if bulk_high > bulk_low and high > bound:
        high, peak = max(value for value in ordered if value <= bound), high
    if high == low:
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    return low, high, peak


def trend(values: Sequence[float | None], share: int = 40) -> list[float | None]:
    """Return the running mean of the finite neighbours, over one part in `share` of the points; gaps stay gaps."""
    half = max(len(values) // share // 2, 1)
    sums, counts = [0.0], [0]
    for value in values:
        sums.append(sums[-1] + (value or 0.0))
        counts.append(counts[-1] + (value is not None))
    found: list[float | None] = []
    for index, value in enumerate(values):
        low, high = max(index - half, 0), min(index + half + 1, len(values))
        found.append(None if value is None else (sums[high] - sums[low]) / (counts[high] - counts[low]))
    return found


def _steps_axis(width: int, first: int, last: int, peak: float | None) -> str:
    begin, middle, end = (f"{step:,}" for step in (first, (first + last) // 2, last))
    note = f"  (a peak of {units.number(peak)} is cut off)" if peak is not None else ""
    room = width - _LABEL - 1
    between = room - len(begin) - len(end)
    words = next((text for text in (middle + note, middle) if len(text) + 2 <= between), "")
    return f"{'step':>{_LABEL}} {begin}{words:^{max(between, 1)}}{end}"


class _Canvas:
    """Dots, and the style of each character that has any."""

    def __init__(self, columns: int, rows: int, x: tuple[int, int], y: tuple[float, float]) -> None:
        self._size = (2 * columns, 4 * rows)
        self._x, self._y = x, y
        self._bits = [[0] * columns for _ in range(rows)]
        self._styles = [[""] * columns for _ in range(rows)]

    def draw(self, curve: Curve) -> None:
        before: tuple[int, int] | None = None
        for at, value in zip(curve.at, curve.value, strict=True):
            if value is None:
                before = None
                continue
            here = self._place(at, value)
            if before is None or not curve.is_line:
                self._dot(*here, curve.style)
            else:
                self._line(before, here, curve.style)
            before = here

    def append_row(self, text: Text, row: int) -> None:
        for bits, style in zip(self._bits[row], self._styles[row], strict=True):
            text.append(chr(0x2800 + bits) if bits else " ", style or None)

    def _place(self, at: int, value: float) -> tuple[int, int]:
        (first, last), (low, high) = self._x, self._y
        width, height = self._size
        x = round((at - first) / (last - first) * (width - 1))
        y = round((high - min(max(value, low), high)) / (high - low) * (height - 1))
        return min(max(x, 0), width - 1), y

    def _line(self, a: tuple[int, int], b: tuple[int, int], style: str) -> None:
        num = max(abs(b[0] - a[0]), abs(b[1] - a[1]), 1)
        for index in range(num + 1):
            share = index / num
            self._dot(round(a[0] + share * (b[0] - a[0])), round(a[1] + share * (b[1] - a[1])), style)

    def _dot(self, x: int, y: int, style: str) -> None:
        self._bits[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
        self._styles[y // 4][x // 2] = style
