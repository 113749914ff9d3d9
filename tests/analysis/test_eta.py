"""Remaining time from step times."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stoker.analysis.eta import Eta, estimate_eta, estimate_from_past, in_turn


def test_steady_steps_give_a_narrow_estimate() -> None:
    eta = estimate_eta([2.0] * 20, 30)
    assert eta is not None and eta.seconds == 60.0 and 56 < eta.low < 60 < eta.high < 64


def test_nothing_left_takes_no_time_and_one_step_says_nothing() -> None:
    assert estimate_eta([1.0], 5) is None
    assert estimate_eta([], 0) == Eta(0.0, 0.0, 0.0)


def test_times_that_are_not_finite_are_left_out() -> None:
    eta = estimate_eta([1.0, math.nan, 1.0, math.inf], 10)
    assert eta is not None and eta.seconds == 10.0


def test_interval_holds_the_true_rest_at_least_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    num_held = 0
    for _ in range(400):
        steps = rng.gamma(4, 0.25, 230)
        eta = estimate_eta(list(steps[:30]), 200)
        assert eta is not None
        num_held += eta.low <= steps[30:].sum() <= eta.high
    assert 0.74 <= num_held / 400 <= 0.97


def test_slow_stretches_widen_the_interval_though_each_step_is_like_the_last() -> None:
    stretches = [1.0] * 25 + [2.0] * 25 + [1.0] * 25 + [2.0] * 25
    shuffled = [1.0, 2.0] * 50
    together, apart = estimate_eta(stretches, 60), estimate_eta(shuffled, 60)
    assert together is not None and apart is not None
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_far_ahead_the_whole_run_counts_and_near_the_end_its_last_steps() -> None:
    slower_now = [1.0] * 400 + [3.0] * 50
    far, near = estimate_eta(slower_now, 1000), estimate_eta(slower_now, 10)
    assert far is not None and near is not None
    assert far.seconds < 1.5 * 1000 and near.seconds == 30.0


def test_a_past_run_gives_an_estimate_for_another_size_and_more_runs_a_narrower_one() -> None:
    assert estimate_from_past([], 10) is None
    one = estimate_from_past([(1000, 50.0)], 2000)
    many = estimate_from_past([(1000, 50.0), (500, 25.0), (4000, 200.0), (100, 5.0), (800, 40.0)], 2000)
    assert one is not None and many is not None
    assert one.seconds == pytest.approx(100) and many.seconds == pytest.approx(100)
    assert one.low < many.low < 100 < many.high < one.high


def test_one_after_the_other_takes_the_sum() -> None:
    assert in_turn([Eta(1, 0.5, 2), Eta(10, 9, 12)]) == Eta(11, 9.5, 14)
