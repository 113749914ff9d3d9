"""Curves as numbers: in range, spikes kept, nothing drawn of nothing."""

import math

from stoker.report.curves import extremes, plot


def test_a_line_runs_from_edge_to_edge_and_starts_at_zero_when_nothing_is_below() -> None:
    drawn = plot("loss", [("a", "one", [(1, 4.0), (2, 2.0), (3, 1.0)])], [("best", 3), ("outside", 9)])
    assert drawn is not None
    assert drawn.lines[0].path == "0.00,0.00 50.00,50.00 100.00,75.00"
    assert (drawn.bottom, drawn.top, drawn.marks) == (0.0, 4.0, (("best", 100.0),))


def test_a_spike_among_a_million_points_is_drawn() -> None:
    points = [(step, 1.0) for step in range(100_000)]
    points[54_321] = (54_321, 9.0)
    kept = extremes(points, 600)
    assert len(kept) <= 600 and (54_321, 9.0) in kept and kept == sorted(kept)


def test_what_is_not_finite_or_one_point_is_not_drawn() -> None:
    assert plot("loss", [("a", "one", [(1, math.nan), (2, 1.0)]), ("b", "one", [])]) is None
