"""A plan that mixes rows that are known with rows that are new: its losses are of two kinds, and neither is a fault."""

from __future__ import annotations

import random

import pytest

from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.watch import Watch
from stoker.spec.watching import WatchSpec


@pytest.mark.parametrize("seed", range(10))
def test_stretches_of_known_and_of_new_rows_are_no_divergence(seed: int) -> None:
    draw, watch, found = random.Random(seed), Watch(WatchSpec()), []
    for step in range(1, 1001):
        share_new = 0.35 + 0.3 * draw.random() if step % 64 < 32 else 0.5
        is_new = draw.random() < share_new
        loss = (3.5 - step / 500 if is_new else 0.01) * draw.uniform(0.8, 1.2)
        found += watch.after_step(step, loss, 0.2, True)
    assert {one.kind for one in found if one.severity != "info"} == set()


def test_among_them_a_level_that_neither_had_diverges() -> None:
    draw, watch = random.Random(1), Watch(WatchSpec())
    for step in range(1, 401):
        watch.after_step(step, (2.5 if draw.random() < 0.5 else 0.01) * draw.uniform(0.8, 1.2), 0.2, True)
    found = [one for step in range(401, 500) for one in watch.after_step(step, draw.uniform(5.0, 6.0), 0.2, True)]
    assert next(one.step for one in found if one.kind == "divergence") <= 448


def mixed(seed: int, share_new: float, steps: int = 1000) -> list[tuple[float, float]]:
    """Return losses and gradient norms of a plan in which rows that are known have a hundredth of a new row's."""
    draw = random.Random(seed)
    kinds = [(3.0, 2.0) if draw.random() < share_new else (0.01, 0.004) for _ in range(steps)]
    return [(loss * draw.uniform(0.8, 1.2), norm * draw.lognormvariate(0, 0.4)) for loss, norm in kinds]


def told_of(run: list[tuple[float, float]], **of_layers: float) -> list[Finding]:
    """Return what is told of the gradients; every tenth step has a reading of three layers."""
    watch, found = Watch(WatchSpec()), []
    for step, (loss, norm) in enumerate(run, 1):
        found += watch.after_step(step, loss, norm, True)
        layers = {"embed": 0.7 * norm, "layers.0": 0.6 * norm, "layers.1": 0.4 * norm}
        late = {name: norm * layers[name] for name, norm in of_layers.items()} if step > len(run) // 2 else {}
        found += watch.after_layer_norms(step, {**layers, **late}) if step % 10 == 0 else []
    return [one for one in found if one.kind.startswith("gradients")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share_new", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_gradients_of_known_and_of_new_rows_neither_explode_nor_vanish(seed: int, share_new: float) -> None:
    assert told_of(mixed(seed, share_new)) == []


@pytest.mark.parametrize("num_known", [8, 64, 300])
def test_new_rows_after_a_stretch_of_known_ones_are_no_explosion_nor_the_other_way_round(num_known: int) -> None:
    known, new = mixed(1, 0.0, num_known), mixed(2, 1.0, num_known)
    assert told_of([*known, *new, *known, *new]) == []
    assert told_of([*new, *known, *new, *known]) == []


@pytest.mark.parametrize("share_new", [0.1, 0.3, 0.7, 0.9])
def test_among_them_a_gradient_that_explodes_or_vanishes_is_found(share_new: float) -> None:
    run = mixed(3, share_new, 400)
    for factor, kind, within in ((1e6, "gradients-exploding", 1), (1e-7, "gradients-vanishing", 8)):
        found = told_of([(loss, norm * (factor if step >= 300 else 1)) for step, (loss, norm) in enumerate(run)])
        assert {one.kind for one in found} == {kind} and 300 < found[0].step <= 300 + within


def test_among_them_a_layer_that_explodes_is_named_at_the_third_reading() -> None:
    (found,) = told_of(mixed(4, 0.3, 400), **{"layers.1": 1e4})
    assert (found.kind, found.step) == ("gradients-exploding", 230) and "layers.1" in found.text
