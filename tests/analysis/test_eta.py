"""Remaining time from step times."""

from __future__ import annotations

import math

import numpy as np

from stoker.analysis.eta import Eta, estimate_eta


def test_steady_steps_give_a_narrow_estimate() -> None:
    eta = estimate_eta([2.0] * 20, 30)
    assert eta is not None and (eta.seconds, eta.low, eta.high) == (60.0, 60.0, 60.0)


def test_nothing_left_takes_no_time_and_one_step_says_nothing() -> None:
    assert estimate_eta([1.0], 5) is None
    assert estimate_eta([], 0) == Eta(0.0, 0.0, 0.0)


def test_times_that_are_not_finite_are_left_out() -> None:
    eta = estimate_eta([1.0, math.nan, 1.0, math.inf], 10)
    assert eta is not None and eta.seconds == 10.0


def test_interval_holds_the_true_rest_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    num_held = 0
    for _ in range(400):
        steps = rng.gamma(4, 0.25, 230)
        eta = estimate_eta(list(steps[:30]), 200)
        assert eta is not None
        num_held += eta.low <= steps[30:].sum() <= eta.high
    assert 0.74 <= num_held / 400 <= 0.87
