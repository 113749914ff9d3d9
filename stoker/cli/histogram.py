"""Histograms for a terminal: a bar of blocks a line, its number beside it, never wider than the terminal.

Bars are proportional to the eighth of a character; what is not nothing is never drawn as nothing.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from stoker.cli import units

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDEST_BAR, _NARROWEST_BAR = 40, 4
_MAX_LINES = 12
_LABEL_SHARE = 0.5


def histogram_lines(bins: Sequence[Sequence[int]]) -> list[str]:
    """Return a line for each [lowest, highest, how many]; many bins are drawn as fewer, wider ones."""
    merged = _merged(bins)
    return bar_lines([(_span(low, high), number) for low, high, number in merged])


def bar_lines(counts: Sequence[tuple[str, int]], *, is_text: bool = False) -> list[str]:
    """Return a line for each name and number. Names of `is_text` are aligned to the left and cut where they are long."""
    if not counts:
        return []
    numbers = [units.count(number) for _, number in counts]
    num_width = max(map(len, numbers))
    terminal = shutil.get_terminal_size((80, 24)).columns
    most = min(int(_LABEL_SHARE * terminal), terminal - num_width - _NARROWEST_BAR - 5) if is_text else terminal
    names = [_cut(name, most) for name, _ in counts]
    name_width = max(map(len, names))
    room = terminal - name_width - num_width - 5
    width = min(_WIDEST_BAR, max(_NARROWEST_BAR, room))
    largest = max(number for _, number in counts)
    align = "<" if is_text else ">"
    return [
        f"  {name:{align}{name_width}}  {shown:>{num_width}} {bar(number, largest, width)}".rstrip()
        for name, shown, (_, number) in zip(names, numbers, counts, strict=True)
    ]


def bar(number: int, largest: int, width: int) -> str:
    """Return a bar of up to `width` characters; at least a sliver for more than nothing."""
    if not number or not largest:
        return ""
    eighths = max(1, round(8 * width * number / largest))
    if not _has_blocks():
        return "#" * max(1, round(eighths / 8))
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _merged(bins: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Leave empty bins at the ends out and join neighbours until few enough are left."""
    filled = [place for place, (_, _, number) in enumerate(bins) if number]
    kept = [(one[0], one[1], one[2]) for one in bins[filled[0] : filled[-1] + 1]] if filled else []
    while len(kept) > _MAX_LINES:
        pairs = [kept[place : place + 2] for place in range(0, len(kept), 2)]
        kept = [(pair[0][0], pair[-1][1], sum(number for _, _, number in pair)) for pair in pairs]
    return kept


def _span(low: int, high: int) -> str:
    return units.count(low) if low == high else f"{units.count(low)}-{units.count(high)}"


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: max(1, width - 3)] + "..."


def _has_blocks() -> bool:
    try:
        _EIGHTHS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
