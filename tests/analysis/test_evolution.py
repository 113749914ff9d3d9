"""When a probe was learned and when it was forgotten."""

from __future__ import annotations

import pytest

from stoker.analysis.evolution import evolution


@pytest.mark.parametrize(
    ("marks", "learned_at", "forgot_at", "num_turns", "is_known"),
    [
        ("", None, None, 0, False),
        ("nnn", None, None, 0, False),
        ("y", 10, None, 1, True),
        ("nnyy", 30, None, 1, True),
        ("nyn", 20, 30, 2, False),
        ("nynny", 50, 30, 3, True),
        ("ynyn", 30, 40, 4, False),
    ],
)
def test_turns_are_found(marks, learned_at, forgot_at, num_turns, is_known):
    found = evolution([(10 * place, mark == "y") for place, mark in enumerate(marks, 1)])
    assert (found.learned_at, found.forgot_at, found.num_turns) == (learned_at, forgot_at, num_turns)
    assert found.is_known is is_known


def test_the_order_in_which_samples_arrive_does_not_matter():
    marks = [(10, False), (20, True), (30, False)]
    assert evolution(reversed(marks)) == evolution(marks)
