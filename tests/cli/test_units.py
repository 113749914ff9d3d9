"""Numbers as people read them."""

from __future__ import annotations

import pytest

from stoker.cli import units
from stoker.cli.pace import pace


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.2 s"),
        (9.99, "10 s"),
        (59.7, "1 min 00 s"),
        (75, "1 min 15 s"),
        (3700, "1 h 01 min"),
        (180_000, "2 d 2 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(("num_bytes", "text"), [(999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB")])
def test_sizes(num_bytes: float, text: str) -> None:
    assert units.size(num_bytes) == text


def test_shares_are_percentages_and_nll_is_not() -> None:
    assert units.score(0.855, "exact") == "85.5 %"
    assert units.score(0.855, "nll") == "0.855"
    assert units.interval(-0.1, 0.2, "exact") == "-10.0 to +20.0"
    assert units.score(None, "nll") == "-"


def test_a_sparkline_falls_as_its_values_do() -> None:
    assert units.sparkline([3, 2, 1]) == "█▄▁" or units.sparkline([3, 2, 1])[0] == "█"
    assert len(units.sparkline(range(1000), 40)) == 40
    assert units.sparkline([1.0, 1.0]) == "▁▁"
    assert units.sparkline([]) == ""


def test_pace_counts_real_tokens_and_says_what_remains() -> None:
    steps = [{"step": n, "seconds": 0.5, "tokens": 1000} for n in range(1, 11)]
    measured = pace(steps, 20)
    assert measured.tokens_per_second == 2000
    assert measured.eta is not None and measured.eta.seconds == pytest.approx(5.0)
    assert pace([], 20).tokens_per_second is None
