"""A learning curve in words: each state is recognised, noise alone is no state, and the advice follows."""

from __future__ import annotations

import math
import random

import pytest

from stoker.analysis.curve import analyse, smoothed

DRAW = random.Random(1)
NOISE = [DRAW.gauss(0, 0.05) for _ in range(1000)]


def curve(loss, steps=400):
    return [(step, loss(step) + NOISE[step]) for step in range(1, steps + 1)]


def codes(analysis):
    return [statement.code for statement in analysis.statements]


def test_a_curve_that_falls_to_its_end_asks_for_more_epochs() -> None:
    found = analyse(curve(lambda step: 5 - step / 100))
    assert found.state == "underfitted" and "more train.epochs" in found.advice[0].lower()
    assert found.last_fall == pytest.approx(0.8 / 1.4, abs=0.1)


def test_a_flat_curve_is_a_plateau_and_says_since_when() -> None:
    found = analyse(curve(lambda step: 1 + 4 * math.exp(-step / 20)))
    assert found.state == "plateau"
    since = int(found.headline.split("step ")[1].split()[0])
    assert 40 < since < 120


def test_held_out_loss_that_rises_while_training_falls_is_overfitting_with_its_best_step() -> None:
    heldout = [(step, 2 + abs(step - 160) / 400) for step in range(40, 401, 40)]
    found = analyse(curve(lambda step: 5 * math.exp(-step / 150)), heldout)
    assert (found.state, found.best_step, found.best_loss) == ("overfitted", 160, 2.0)
    assert "step 160 of 400" in found.advice[0]
    assert found.gap is not None and found.gap > 1


def test_training_loss_that_falls_alone_asks_for_data_and_not_for_epochs() -> None:
    heldout = [(step, 3.0 if step > 80 else 3.5) for step in range(40, 401, 40)]
    found = analyse(curve(lambda step: 5 - step / 100), heldout)
    assert found.state == "memorising" and "not due" in found.advice[0]
    falling = [(step, 5 - step / 120) for step in range(40, 401, 40)]
    assert analyse(curve(lambda step: 5 - step / 100), falling).state == "underfitted"


def test_one_bad_evaluation_at_the_end_is_no_overfitting() -> None:
    heldout = [(step, 3 - step / 200) for step in range(40, 401, 40)]
    heldout[-1] = (400, 1.6)
    assert analyse(curve(lambda step: 5 * math.exp(-step / 150)), heldout).state != "overfitted"


def test_a_loss_that_ends_far_above_its_best_diverged() -> None:
    found = analyse(curve(lambda step: 2 if step < 200 else min(7, 2 + (step - 200) / 20)))
    assert found.state == "diverged" and "learning_rate" in found.advice[0]


def test_a_run_that_never_came_back_to_its_first_loss_diverged_though_it_fell_again() -> None:
    found = analyse(curve(lambda step: 1.2 if step == 1 else 3 + 9 * math.exp(-step / 40)))
    assert found.state == "diverged" and found.headline.startswith("The loss diverged: it was 1.")


def test_two_kinds_of_rows_are_no_divergence() -> None:
    assert analyse(curve(lambda step: 1.0 if step % 3 == 0 else 4.0)).state == "plateau"
    assert analyse(curve(lambda step: 1.0 if step % 3 == 1 else 4.0)).state == "plateau"


def test_a_loss_that_rises_at_the_end_is_told() -> None:
    found = analyse(curve(lambda step: 2.0 if step < 300 else 2 + (step - 300) / 250))
    assert found.state == "rising" and "unlearned" in found.advice[0]


def test_noise_and_steps_that_are_not_finite_are_said() -> None:
    noisy = [(step, 2 + 30 * NOISE[step]) for step in range(1, 401)]
    noisy[10] = (11, math.nan)
    found = analyse(noisy)
    assert found.noise is not None and found.noise > 0.25
    assert "non-finite" in codes(found) and any("batch_tokens" in advice for advice in found.advice)


def test_a_rate_that_had_not_fallen_is_part_of_the_advice() -> None:
    losses = curve(lambda step: 5 - step / 100)
    rates = [(step, 1e-3) for step, _ in losses]
    assert "had not fallen" in analyse(losses, learning_rates=rates).advice[0]
    fell = [(step, 1e-3 * (401 - step)) for step, _ in losses]
    assert "had not fallen" not in analyse(losses, learning_rates=fell).advice[0]


def test_few_steps_say_that_they_are_too_few() -> None:
    found = analyse([(1, 2.0), (2, math.nan)])
    assert found.state == "too-short" and found.best_step is None and "not finite" in found.headline
    assert analyse([]).state == "too-short"


def test_smoothing_is_not_moved_by_one_bad_step() -> None:
    assert [loss for _, loss in smoothed([(1, 1.0), (2, 1.0), (3, 900.0), (4, 1.0), (5, 1.0)], 3)] == [1.0] * 5
