"""Every setting of [watch] changes what is told."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from stoker.analysis.detectors.watch import Watch
from stoker.spec.watching import WatchSpec

DRAW = random.Random(3)
NOISE = [DRAW.gauss(0, 1) for _ in range(3000)]


def loss_of(step: int) -> float:
    return 2.0 + 0.05 * NOISE[step]


def told(
    steps: int = 300,
    loss: Callable[[int], float] = loss_of,
    norm: Callable[[int], float] = lambda step: 1.0,
    **settings: Any,
) -> list[tuple[str, int]]:
    watch = Watch(WatchSpec(**settings))
    return [
        (found.kind, step)
        for step in range(1, steps + 1)
        for found in watch.after_step(step, loss(step), norm(step), math.isfinite(loss(step)))
    ]


def at(step_of_fault: int, value: float) -> Callable[[int], float]:
    return lambda step: value if step == step_of_fault else loss_of(step)


def test_enabled_false_leaves_only_what_is_not_finite() -> None:
    def loss(step: int) -> float:
        return {100: 50.0, 200: math.nan}.get(step, loss_of(step))

    assert told(loss=loss) == [("loss-spike", 100), ("non-finite", 200)]
    assert told(loss=loss, enabled=False) == [("non-finite", 200)]
    watch = Watch(WatchSpec(enabled=False))
    for step in range(1, 100):
        watch.after_step(step, loss_of(step), 1.0, True)
    assert watch.loss_limit() == math.inf


def test_ignore_silences_a_kind() -> None:
    assert told(loss=at(100, 50.0), ignore=("loss-spike",)) == []
    assert told(loss=at(100, math.nan), ignore=("non-finite",)) == []


def test_cooldown_steps_is_how_soon_the_same_kind_is_told_again() -> None:
    def two(step: int) -> float:
        return 50.0 if step in (100, 120) else loss_of(step)

    assert [step for kind, step in told(loss=two) if kind == "loss-spike"] == [100]
    assert [step for kind, step in told(loss=two, cooldown_steps=10) if kind == "loss-spike"] == [100, 120]


def test_baseline_steps_is_how_far_back_a_step_is_compared() -> None:
    def falls(step: int) -> float:
        return 8.0 if step < 100 else 2.0 if step != 120 else 10.0

    assert ("loss-spike", 120) not in told(loss=falls, baseline_steps=64)
    assert ("loss-spike", 120) in told(loss=falls, baseline_steps=16)


def test_spike_rise_is_how_far_above_the_baseline_a_spike_is() -> None:
    assert told(loss=at(100, 4.4)) == [("loss-spike", 100)]
    assert ("loss-spike", 100) not in told(loss=at(100, 4.4), spike_rise=1.5)


def test_spike_sigmas_protects_a_noisy_run() -> None:
    def noisy(step: int) -> float:
        return 2.0 + 0.5 * NOISE[step] if step != 100 else 7.0

    assert ("loss-spike", 100) in told(loss=noisy)
    assert ("loss-spike", 100) not in told(loss=noisy, spike_sigmas=15)


def test_spike_floor_protects_a_loss_near_zero() -> None:
    def low(step: int) -> float:
        return 0.05 if step != 100 else 0.3

    assert ("loss-spike", 100) not in told(loss=low)
    assert ("loss-spike", 100) in told(loss=low, spike_floor=0.1)


def test_outlier_sigmas_is_how_odd_an_outlier_is_up_and_down() -> None:
    for value in (3.0, 1.0):
        assert told(loss=at(100, value)) == [("loss-outlier", 100)]
        assert told(loss=at(100, value), outlier_sigmas=60) == []


def test_divergence_rise_and_steps_say_how_far_and_how_long() -> None:
    def rises(step: int) -> float:
        return loss_of(step) + (0.8 if step >= 150 else 0.0)

    def diverged(**settings: Any) -> list[int]:
        return [step for kind, step in told(400, loss=rises, **settings) if kind == "divergence"]

    assert diverged() == []
    (first,) = diverged(divergence_rise=0.2)
    (later,) = diverged(divergence_rise=0.2, divergence_steps=60)
    assert later - first == 44


def test_gradient_and_vanishing_factor_are_how_far_a_norm_may_move() -> None:
    def big(step: int) -> float:
        return 15.0 if 200 <= step < 205 else 1.0

    def small(step: int) -> float:
        return 1e-4 if 200 <= step < 215 else 1.0

    assert told(norm=big) == [("gradients-exploding", 202)]
    assert told(norm=big, gradient_factor=20.0) == []
    assert told(norm=small) == [("gradients-vanishing", 207)]
    assert told(norm=small, vanishing_factor=1e6) == []


def test_plateau_steps_and_improvement_say_how_long_and_how_flat() -> None:
    def still(step: int) -> float:
        return 3.0 - step * 0.0001

    def flat(**settings: Any) -> list[int]:
        return [step for kind, step in told(1200, loss=still, **settings) if kind == "plateau"][:1]

    assert flat(plateau_improvement=0.05) == [512]
    assert flat(plateau_improvement=0.05, plateau_steps=128) == [128]
    assert flat(plateau_improvement=0.001) == []


def overfitted(**settings: Any) -> list[int]:
    watch, found = Watch(WatchSpec(**settings)), []
    for place, heldout in enumerate([3.0, 2.0, 2.07, 2.1, 2.2, 2.3]):
        found += [each.kind for each in watch.after_evaluation(place, heldout, 2.0 - 0.3 * place)]
        if "overfitting" in found:
            return [place]
    return []


def test_overfitting_evaluations_and_rise_say_how_often_and_how_far() -> None:
    assert overfitted() == [4]
    assert overfitted(overfitting_evaluations=1) == [2]
    assert overfitted(overfitting_rise=0.2) == []


def accuracy_falls(**settings: Any) -> list[str]:
    watch = Watch(WatchSpec(**settings))
    return [
        each.kind
        for step, accuracy in enumerate([0.8, 0.8, 0.8, 0.5, 0.5])
        for each in watch.after_samples(step, accuracy)
    ]


def test_accuracy_drop_is_how_much_worse_counts() -> None:
    assert accuracy_falls() == ["accuracy-drop"]
    assert accuracy_falls(accuracy_drop=0.4) == []


def test_inverted_sigmas_is_how_sure_an_inversion_must_be() -> None:
    items = [(True, 3.0 + place / 10) for place in range(6)] + [(False, 1.0 + place / 10) for place in range(6)]

    def inverted(**settings: Any) -> list[str]:
        watch = Watch(WatchSpec(**settings))
        return [each.kind for step in range(2) for each in watch.after_samples(step, 0.5, items)]

    assert inverted() == ["inverted-loss"]
    assert inverted(inverted_sigmas=4.0) == []


def test_these_tests_cover_every_setting() -> None:
    covered = {
        "enabled", "ignore", "cooldown_steps", "baseline_steps", "spike_rise", "spike_sigmas", "spike_floor",
        "outlier_sigmas", "divergence_rise", "divergence_steps", "gradient_factor", "vanishing_factor", "plateau_steps",
        "plateau_improvement", "overfitting_evaluations", "overfitting_rise", "accuracy_drop", "inverted_sigmas",
    }  # fmt: skip
    assert covered == set(WatchSpec.model_fields)


@pytest.mark.parametrize("bad", [{"baseline_steps": 2}, {"spike_rise": -1}, {"gradient_factor": 1.0}, {"unknown": 1}])
def test_a_setting_out_of_range_or_unknown_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        WatchSpec(**bad)
