"""When a run's evaluations no longer gain."""

from __future__ import annotations

import math

import pytest

from stoker.analysis.early_stopping import Gain


def stopped_at(values: list[float], patience: int, min_delta: float = 0.0) -> int | None:
    gain = Gain()
    for number, value in enumerate(values, 1):
        gain = gain.after(number, value, min_delta)
        if gain.is_over(patience):
            return number
    return None


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "step"),
    [
        ([3, 2, 1, 1.5, 1.2, 1.1], 2, 0.0, 5),
        ([3, 2, 1, 1.5, 0.9, 1.1, 1.2, 1.3], 3, 0.0, 8),
        ([3, 2, 1, 1.5, 1.2], 3, 0.0, None),
        ([3, 2, 1, 1.5, 1.6, 1.7, 1.8], 0, 0.0, None),
        ([1.0, 0.95, 0.9, 0.85], 2, 0.2, 3),
        ([1.0, 0.95, 0.9, 0.85], 2, 0.01, None),
        ([1.0, 1.0, 1.0], 2, 0.0, 3),
        ([math.nan, math.inf, 1.0, 0.9], 3, 0.0, None),
        ([math.nan, math.inf, math.nan], 3, 0.0, 3),
    ],
)
def test_a_run_is_over_after_so_many_evaluations_without_a_gain(values, patience, min_delta, step):
    assert stopped_at(values, patience, min_delta) == step


def test_gains_smaller_than_the_least_add_up_to_one():
    gain = Gain()
    for step, value in enumerate([1.0, 0.96, 0.92, 0.88], 1):
        gain = gain.after(step, value, 0.1)
    assert (gain.best, gain.best_step, gain.num_without) == (0.88, 4, 0)
