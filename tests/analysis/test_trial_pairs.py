"""Several models compared with each other: all pairs, one error rate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stoker.analysis.comparison import PairedScores, compare_family
from stoker.analysis.statistics import holm, mean_interval
from stoker.analysis.trial import compare_pairs, describe_trial


def scores(ours: np.ndarray, theirs: np.ndarray, **fields: bool) -> PairedScores:
    return PairedScores("heldout", "nll", ours, theirs, is_binary=False, higher_is_better=False, **fields)


def pairs(models: dict[str, np.ndarray]) -> list[tuple[str, str, list[PairedScores]]]:
    return [(a, b, [scores(models[a], models[b])]) for a, b in itertools.combinations(models, 2)]


def test_every_pair_is_corrected_for_the_number_of_all_pairs() -> None:
    draw = np.random.default_rng(1)
    items = draw.normal(2.0, 1.0, 60)
    models = {name: items + draw.normal(shift, 0.5, 60) for name, shift in (("a", 0.0), ("b", -0.6), ("c", 0.18))}
    found = compare_pairs(pairs(models), 0.95, 2000)
    alone = [compare_family(a, b, each, 0.95, 2000)[0].p_value for a, b, each in pairs(models)]
    assert [each.p_value_corrected for each in found] == holm([each.p_value for each in found])
    assert [each.p_value for each in found] == pytest.approx(alone, abs=0.01)
    assert [each.outcome for each in found] == ["worse", "no-difference", "better"]
    said = describe_trial(found, "heldout")
    assert "b over a" in said and "b over c" in said and "3 pairs" in said


def test_equal_models_are_seldom_told_apart_however_many_pairs_there_are() -> None:
    draw = np.random.default_rng(2)
    wrong = 0
    for _ in range(40):
        items = draw.normal(2.0, 1.0, 40)
        models = {name: items + draw.normal(0.0, 0.5, 40) for name in "abcd"}
        found = compare_pairs(pairs(models), 0.95, 400)
        wrong += any(each.outcome != "no-difference" for each in found)
    assert wrong <= 6, "5 % of 40 trials are 2; each of 6 pairs by itself would make it about 8"


def test_a_target_that_was_not_compared_is_said() -> None:
    assert "Nothing can be said" in describe_trial([], "heldout")
    same = compare_pairs(pairs({"a": np.ones(20), "b": np.ones(20)}), 0.95, 400)
    assert "No detectable difference" in describe_trial(same, "heldout")


def test_the_interval_of_a_mean_covers_it() -> None:
    low, high = mean_interval(np.array([1.0] * 8 + [0.0] * 2), 0.95, 400, is_binary=True)
    assert (round(low, 3), round(high, 3)) == (0.444, 0.975)
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    low, high = mean_interval(values, 0.95, 2000, is_binary=False)
    assert low < values.mean() < high and high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)
