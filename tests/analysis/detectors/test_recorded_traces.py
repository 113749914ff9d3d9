"""Detectors on recorded runs (`benchmarks/traces.py` makes them): silent on the clean ones, and each planted fault found in its window."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.watch import Watch
from stoker.spec.watching import WatchSpec

TRACES = {
    path.stem: json.loads(path.read_bytes()) for path in sorted((Path(__file__).parent / "traces").glob("*.json"))
}
CLEAN = [name for name in TRACES if not name.startswith("faulty-") and name != "overfits"]
LONG = [name for name in CLEAN if len(TRACES[name]["loss"]) >= 100]
LONG_TAILS = ("sums-after-easy",)
"""Runs in which some clean batches have three times the median: rows of two kinds, one far harder."""
TWO_LEVELS = ("new-among-known-rows",)
"""Runs in which a hundred times a known batch's loss is what a new batch has: that is no spike."""
Loss = Callable[[int, float], float]
"""(steps since the fault began, the clean loss) to what is seen."""


def replay(trace: dict[str, Any]) -> list[Finding]:
    """Return everything that a worker would have been told in this run."""
    watch, found = Watch(WatchSpec()), []
    evaluations = {int(step): loss for step, loss in trace["evaluations"]}
    layers = {(place + 1) * trace["layer_steps"]: norms for place, norms in enumerate(trace["layers"])}
    for step, (loss, norm) in enumerate(zip(trace["loss"], trace["grad_norm"], strict=True), 1):
        loss, norm = (math.nan if value is None else value for value in (loss, norm))
        found += watch.after_step(step, loss, norm, math.isfinite(loss) and math.isfinite(norm))
        found += watch.after_layer_norms(step, layers[step]) if step in layers else []
        found += watch.after_evaluation(step, evaluations[step], None) if step in evaluations else []
    return found


def alarms(found: list[Finding]) -> list[tuple[str, int]]:
    return [(each.kind, each.step) for each in found if each.severity != "info"]


def planted(name: str, loss: Loss, norm: Loss = lambda since, clean: clean) -> tuple[int, list[tuple[str, int]]]:
    """Return where a fault begins in a trace (at 60 %), and the alarms of the trace with it."""
    trace = TRACES[name]
    at = int(0.6 * len(trace["loss"]))
    changed = {
        "loss": [each if place < at else loss(place - at, each) for place, each in enumerate(trace["loss"])],
        "grad_norm": [each if place < at else norm(place - at, each) for place, each in enumerate(trace["grad_norm"])],
        "evaluations": [],
        "layers": [],
    }
    return at + 1, alarms(replay({**trace, **changed}))


def first(found: list[tuple[str, int]], kind: str) -> int | None:
    return next((step for each, step in found if each == kind), None)


def test_there_are_twenty_clean_runs() -> None:
    assert len(CLEAN) >= 20


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_run_raises_no_alarm(name: str) -> None:
    assert alarms(replay(TRACES[name])) == []


@pytest.mark.parametrize("name", LONG)
def test_a_step_that_is_not_finite_is_found_in_that_step(name: str) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        at, found = planted(name, lambda since, clean, bad=bad: bad if since == 0 else clean)
        assert found == [("non-finite", at)]
        at, found = planted(name, lambda s, clean: clean, lambda since, clean, bad=bad: bad if since == 0 else clean)
        assert found == [("non-finite", at)]


@pytest.mark.parametrize("name", [name for name in LONG if name not in TWO_LEVELS])
@pytest.mark.parametrize("times", [100, 10])
def test_a_spike_is_found_in_its_step_and_told_once(name: str, times: float) -> None:
    at, found = planted(name, lambda since, clean: times * clean if since == 0 else clean)
    assert found == [("loss-spike", at)]


@pytest.mark.parametrize("name", [name for name in LONG if name not in LONG_TAILS])
@pytest.mark.parametrize("times", [5, 3])
def test_a_smaller_spike_is_found_where_it_stands_out_of_the_tail_of_that_run(name: str, times: float) -> None:
    trace = TRACES[name]["loss"]
    at = int(0.6 * len(trace))
    before = sorted(trace[max(0, at - 32) : at])
    not_learned = min(3 * before[16], sorted(trace[:16])[-2])
    stands_out = times * trace[at] > max(2 * before[16], before[16] + 1.0, 2.5 * before[-2], not_learned)
    _, found = planted(name, lambda since, clean: times * clean if since == 0 else clean)
    assert found == [("loss-spike", at + 1)] or not stands_out


@pytest.mark.parametrize("name", LONG)
def test_a_jump_to_three_times_the_loss_diverges_within_48_steps(name: str) -> None:
    at, found = planted(name, lambda since, clean: 3 * clean + 0.5)
    step = first(found, "divergence")
    assert step is not None and at < step <= at + 48
    assert sum(kind == "divergence" for kind, _ in found) == 1


@pytest.mark.parametrize("name", [name for name in LONG if len(TRACES[name]["loss"]) >= 150])
def test_a_slow_rise_is_found_within_40_steps_of_a_nat(name: str) -> None:
    at, found = planted(name, lambda since, clean: clean + since * 0.06)
    step = first(found, "divergence")
    assert step is not None and at < step <= at + math.ceil(1.5 / 0.06) + 40


@pytest.mark.parametrize("name", [name for name in TRACES if name.startswith("faulty-rate")])
def test_a_run_at_fifty_times_its_rate_and_more_is_found_by_its_sixteenth_step_and_told_once(name: str) -> None:
    assert alarms(replay(TRACES[name])) == [("divergence", 16 if "lora" in name else 8)]


def test_a_run_that_overfits_is_found_at_its_third_evaluation_above_the_best() -> None:
    assert alarms(replay(TRACES["overfits"])) == [("overfitting", 100)]


@pytest.mark.parametrize("name", LONG)
def test_gradients_that_explode_or_vanish_are_found_within_their_steps(name: str) -> None:
    for factor, kind, within in (
        (1e4, "gradients-exploding", 1),
        (60.0, "gradients-exploding", 3),
        (1e-6, "gradients-vanishing", 8),
        (0.0, "gradients-vanishing", 8),
    ):
        at, found = planted(name, lambda since, clean: clean, lambda since, clean, factor=factor: factor * clean)
        assert [each for each, _ in found] == [kind] and found[0][1] < at + within


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(
    ("factor", "kind"), [(1e3, "gradients-exploding"), (1e-6, "gradients-vanishing"), (0.0, "gradients-vanishing")]
)
def test_one_layer_that_misbehaves_is_named_at_the_third_reading(name: str, factor: float, kind: str) -> None:
    trace = TRACES[name]
    watch, told = Watch(WatchSpec()), []
    readings = trace["layers"] if len(trace["layers"]) >= 14 else trace["layers"] * 2
    for number, norms in enumerate(readings[:14]):
        sick = {**norms, "layer 1": norms["layer 1"] * (factor if number >= 10 else 1.0)}
        told += [(each.kind, number, each.text) for each in watch.after_layer_norms(number, sick)]
    assert [(each, number) for each, number, _ in told] == [(kind, 12)]
    assert "layer 1" in told[0][2]


def test_a_loss_that_stands_still_is_a_plateau_within_its_length_and_one_baseline() -> None:
    still = TRACES["easy"]["loss"][-64:] * 20
    watch = Watch(WatchSpec())
    found = [each for step, loss in enumerate(still, 1) for each in watch.after_step(step, loss, 1.0, True)]
    assert [each.kind for each in found] == ["plateau"] and found[0].step <= 512 + 32
