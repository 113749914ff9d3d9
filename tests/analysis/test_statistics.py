"""Paired tests against hand-computed and published values, against scipy, and under simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stoker.analysis.statistics import (
    _tango_interval,
    compare_marks,
    compare_scores,
    detectable_mean,
    detectable_proportion,
    holm,
    mcnemar_p,
    proportion_interval,
    smallest_sample,
)


def marks(num_better: int, num_worse: int, num_same: int) -> tuple[np.ndarray, np.ndarray]:
    candidate = np.array([1.0] * num_better + [0.0] * num_worse + [1.0] * num_same)
    against = np.array([0.0] * num_better + [1.0] * num_worse + [1.0] * num_same)
    return candidate, against


@pytest.mark.parametrize(
    ("num_better", "num_worse", "expected"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (6, 0, 2 / 64),
        (8, 1, 2 * (1 + 9) / 512),  # P(at least 8 of 9) twice
        (3, 3, 1.0),
    ],
)
def test_mcnemar_matches_the_hand_computed_coin_tosses(num_better: int, num_worse: int, expected: float) -> None:
    assert mcnemar_p(num_better, num_worse) == pytest.approx(expected)
    assert mcnemar_p(num_worse, num_better) == pytest.approx(expected)


def test_tangos_interval_matches_the_published_one() -> None:
    """Airway responsiveness before and after transplantation (Bentur 2009), in Fagerland, Lydersen and Laake 2014."""
    low, high = _tango_interval(1, 7, 21, 0.95)
    assert low == pytest.approx(-0.517, abs=5e-4)
    assert high == pytest.approx(-0.026, abs=5e-4)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_interval_of_proportions_excludes_zero_exactly_when_mcnemar_says_so(confidence: float) -> None:
    for n in (6, 12, 23):
        for num_better in range(n + 1):
            for num_worse in range(n + 1 - num_better):
                low, high = proportion_interval(num_better, num_worse, n, confidence)
                excludes_zero = low > 0 or high < 0
                assert excludes_zero == (mcnemar_p(num_better, num_worse) <= 1 - confidence + 1e-12)
                assert -1 <= low <= (num_better - num_worse) / n <= high <= 1


def test_interval_of_proportions_without_discordant_pairs_still_has_width() -> None:
    low, high = proportion_interval(0, 0, 100, 0.95)
    assert low == pytest.approx(-high)
    assert 0.02 < high < 0.05


def test_marks_of_one_item_prove_nothing() -> None:
    test = compare_marks(np.array([1.0]), np.array([0.0]), 0.95)
    assert (test.n, test.difference, test.p_value) == (1, 1.0, 1.0)
    assert test.low <= 0 <= test.high
    assert test.minimum_detectable_effect == 1.0


def test_no_items_at_all_is_a_defect_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        compare_marks(np.array([]), np.array([]), 0.95)


def test_bootstrap_agrees_with_scipys_percentile_bootstrap_and_with_the_t_test() -> None:
    rng = np.random.default_rng(3)
    candidate, against = rng.normal(0.3, 1, 200), rng.normal(0, 1, 200)
    test = compare_scores(candidate, against, 0.95, 10_000)
    reference = stats.bootstrap((candidate - against,), np.mean, method="percentile", rng=rng).confidence_interval
    assert test.low == pytest.approx(reference.low, abs=0.02)
    assert test.high == pytest.approx(reference.high, abs=0.02)
    assert test.p_value == pytest.approx(stats.ttest_rel(candidate, against).pvalue, abs=0.01)
    assert test.difference == pytest.approx(float(np.mean(candidate - against)))


def test_sign_flip_p_value_of_a_small_sample_matches_scipys_permutation_test() -> None:
    differences = np.array([0.5, 0.1, 0.4, -0.3, 0.2, 0.35, 0.05, 0.6])
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    test = compare_scores(differences, np.zeros(8), 0.95, 10_000)
    assert test.p_value >= exact.pvalue - 1e-12
    assert test.p_value == pytest.approx(exact.pvalue, abs=0.005)


def test_interval_and_p_value_of_scores_never_contradict_each_other() -> None:
    rng = np.random.default_rng(5)
    num_significant = 0
    for index in range(200):
        n = int(rng.integers(6, 30))
        differences = rng.normal(0.4, 1, n).round(1)
        test = compare_scores(differences, np.zeros(n), 0.95, 500, seed=index)
        assert (test.low > 0 or test.high < 0) == (test.p_value <= 0.05 + 1e-12)
        num_significant += test.p_value <= 0.05
    assert 20 < num_significant < 180


def test_same_numbers_give_the_same_test_and_another_seed_nearly_so() -> None:
    rng = np.random.default_rng(7)
    candidate, against = rng.normal(size=40), rng.normal(size=40)
    first, again = (compare_scores(candidate, against, 0.95, 2000) for _ in range(2))
    other = compare_scores(candidate, against, 0.95, 2000, seed=1)
    assert first == again
    assert other != first
    assert other.low == pytest.approx(first.low, abs=0.1)


def test_equal_scores_are_no_difference_and_a_constant_gain_is_one() -> None:
    same = compare_scores(np.full(8, 0.3), np.full(8, 0.3), 0.95, 1000)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    gain = compare_scores(np.full(8, 0.3), np.full(8, 0.1), 0.95, 1000)
    assert gain.p_value == pytest.approx(2 / 2**8)
    assert gain.low == pytest.approx(0.2)


def test_rounding_residue_counts_as_a_tie() -> None:
    differences = np.array([0.1 + 0.2 - 0.3] * 10)
    assert differences[0] != 0
    test = compare_scores(np.concatenate([differences, [1.0, -1.0]]), np.zeros(12), 0.95, 1000)
    assert test.p_value > 0.9


def test_too_few_scores_have_no_interval() -> None:
    for n in (1, 2, 5):
        test = compare_scores(np.arange(n) + 1.0, np.zeros(n), 0.95, 1000)
        assert test.low == -math.inf and test.high == math.inf and test.p_value > 0.05
    assert math.isfinite(compare_scores(np.arange(6) + 1.0, np.zeros(6), 0.95, 1000).low)
    assert [smallest_sample(level) for level in (0.9, 0.95, 0.99)] == [5, 6, 8]


def test_more_resamples_than_one_block_holds_are_drawn_in_blocks() -> None:
    differences = np.random.default_rng(0).normal(0.05, 1, 3000)
    test = compare_scores(differences, np.zeros(3000), 0.95, 1000)
    assert test.low < test.difference < test.high
    assert test.high - test.low == pytest.approx(2 * 1.96 / math.sqrt(3000), rel=0.15)


@pytest.mark.parametrize("n", [8, 30])
def test_interval_covers_the_truth_and_equals_are_seldom_called_different(n: int) -> None:
    rng = np.random.default_rng(11)
    num_draws = 400
    num_missed = 0
    for index in range(num_draws):
        differences = rng.standard_t(4, n) + 0.7
        test = compare_scores(differences, np.zeros(n), 0.95, 400, seed=index)
        num_missed += not test.low <= 0.7 <= test.high
    assert num_missed / num_draws <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / num_draws)


def test_holm_matches_the_step_down_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_detectable_difference_of_marks_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(2)
    n, num_discordant = 200, 30
    effect = detectable_proportion(num_discordant, n, 0.05)
    share = (num_discordant + 1) / (n + 2)
    outcomes = rng.choice([1, -1, 0], size=(1000, n), p=[(share + effect) / 2, (share - effect) / 2, 1 - share])
    found = [mcnemar_p(int((row == 1).sum()), int((row == -1).sum())) <= 0.05 for row in outcomes]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)


def test_detectable_difference_shrinks_with_items_and_grows_with_stricter_levels() -> None:
    assert detectable_proportion(20, 100, 0.05) > detectable_proportion(200, 1000, 0.05)
    assert detectable_proportion(20, 100, 0.01) > detectable_proportion(20, 100, 0.05)
    assert detectable_proportion(0, 3, 0.05) == 1.0
    assert detectable_mean(1.0, 1, 0.05) == math.inf
    assert detectable_mean(0.0, 10, 0.05) == 0.0
    assert detectable_mean(1.0, 400, 0.05) == pytest.approx(2.8 / 20, rel=0.01)
