"""How often a comparison is wrong: equal models called different, a planted difference missed."""

from __future__ import annotations

import numpy as np
from answered import answered

from stoker.analysis.comparing import SAME, compare_models


def share_called_different(gain: float, *, num_draws: int, num_items: int = 300) -> float:
    """Sample one model twice, the second time with `gain` more right answers on average; items correlate by 0.7."""
    num = 0
    for index in range(num_draws):
        rng = np.random.default_rng([7, index])
        chance = rng.beta(3 / 14, 3 / 14, num_items)
        lifted = chance + (1 - chance) * gain / 0.5
        first, second = ([float(mark) for mark in rng.random(num_items) < each] for each in (chance, lifted))
        found = {"sums": {"a": answered("a", first), "b": answered("b", second)}}
        (line,) = compare_models(["a", "b"], found, 0.95, 200).lines
        num += line.outcome != SAME
    return num / num_draws


def test_two_samplings_of_one_model_are_called_different_in_at_most_5_percent() -> None:
    assert share_called_different(0.0, num_draws=60) <= 0.05


def test_a_planted_difference_of_10_points_is_found_in_at_least_95_percent() -> None:
    assert share_called_different(0.1, num_draws=60) >= 0.95
