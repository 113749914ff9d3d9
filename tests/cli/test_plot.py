"""Curves on a terminal: the size asked for, the shape of the data, lone peaks cut off and named."""

from __future__ import annotations

import pytest

from stoker.cli.plot import Curve, chart, limits, trend


@pytest.mark.parametrize(("width", "height"), [(80, 10), (40, 6), (160, 40)])
def test_a_chart_has_the_size_it_is_given(width: int, height: int) -> None:
    curve = Curve(range(1000), [1 / (9 + at) for at in range(1000)], "cyan")
    lines = chart([curve], width, height, 0, 999).plain.split("\n")
    assert len(lines) == height and all(len(line) <= width for line in lines)
    assert lines[-1].split()[0] == "step" and lines[-1].rstrip().endswith("999")


def test_a_falling_curve_goes_from_the_top_left_to_the_bottom_right() -> None:
    lines = chart([Curve(range(100), [100.0 - at for at in range(100)], "")], 60, 11, 0, 99).plain.split("\n")
    first, last = lines[0].rstrip(), lines[9].rstrip()
    assert first.lstrip().startswith("100┤") and last.lstrip().startswith("1┤")
    assert len(first) < 20 and len(last) == 60


def test_a_lone_peak_does_not_flatten_the_rest_and_is_named() -> None:
    values = [1.0 + at % 10 / 10 for at in range(500)]
    values[250] = 900.0
    assert limits(values) == (1.0, 1.9, 900.0)
    assert "a peak of 900 is cut off" in chart([Curve(range(500), values, "")], 80, 8, 0, 499).plain
    falling = [9.0 * 0.97**at + 0.5 for at in range(500)]
    assert limits(falling)[1] <= 9.5


def test_gaps_constants_and_nothing_at_all_are_drawn_without_a_failure() -> None:
    assert chart([Curve([1], [2.0], "")], 60, 6, 1, 1).plain
    assert chart([Curve([1, 2, 3], [None, None, None], "")], 60, 6, 1, 3).plain
    assert limits([]) == (0.0, 1.0, None) and limits([0.0, 0.0]) == (-1.0, 1.0, None)
    broken = chart([Curve([0, 50, 99], [1.0, None, 1.0], "")], 60, 6, 0, 99).plain
    assert sum(0x2800 < ord(mark) <= 0x28FF for mark in broken) == 2


def test_a_trend_is_the_mean_of_neighbours_and_keeps_gaps() -> None:
    smooth = trend([1.0, 3.0, None, 5.0] * 10, share=20)
    assert smooth[1] == 2.0 and smooth[2] is None and len(smooth) == 40
