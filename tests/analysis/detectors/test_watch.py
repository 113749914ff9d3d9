"""The watch a worker runs: what it finds, that it says so once, that it goes on exactly where it was."""

import json
import math
import random
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from stoker.analysis.detectors.finding import KINDS, Finding
from stoker.analysis.detectors.watch import Watch
from stoker.spec.watching import Kind, WatchSpec


def calm(step: int) -> float:
    """A loss that falls from 5.5 to 1.5 with a scatter of 0.1."""
    return 1.5 + 4 * 0.99**step + random.Random(step).gauss(0, 0.1)


def watched(
    loss: Callable[[int], float], steps: int = 600, spec: WatchSpec | None = None, **norms: Callable[[int], float]
) -> list[Finding]:
    """Return what a run with these losses and gradient norms (default: 1) is told."""
    watch, norm = Watch(spec or WatchSpec()), norms.get("norm", lambda step: 1.0)
    found = []
    for step in range(1, steps + 1):
        here = (loss(step), norm(step))
        found += watch.after_step(step, *here, all(map(math.isfinite, here)))
    return found


def kinds(found: list[Finding]) -> list[tuple[str, int]]:
    return [(each.kind, each.step) for each in found if each.severity != "info"]


def test_a_calm_run_is_told_nothing() -> None:
    assert kinds(watched(calm)) == []


def test_a_loss_that_is_not_finite_is_told_in_its_step() -> None:
    for bad in (math.nan, math.inf):
        assert kinds(watched(lambda step, bad=bad: bad if step == 200 else calm(step))) == [("non-finite", 200)]


def test_a_spike_is_told_in_its_step_with_the_baseline_before_it() -> None:
    (found,) = watched(lambda step: calm(step) * (100 if step == 300 else 1))
    assert (found.kind, found.step) == ("loss-spike", 300)
    assert found.numbers["baseline"] < 2.5, "the spike itself is not part of its baseline"


def test_the_loss_limit_is_what_the_next_step_is_judged_by() -> None:
    watch = Watch(WatchSpec())
    assert watch.loss_limit() == math.inf
    for step in range(1, 100):
        watch.after_step(step, calm(step), 1.0, True)
    limit = watch.loss_limit()
    assert watch.after_step(100, limit + 0.01, 1.0, True)[0].kind == "loss-spike"


def test_a_loss_that_rises_and_stays_diverges_and_is_told_once() -> None:
    assert kinds(watched(lambda step: calm(step) + min(4.0, max(0, step - 300) * 0.04), steps=900)) == [
        ("divergence", 355)
    ]


def test_a_state_in_json_goes_on_exactly() -> None:
    def losses(step: int) -> float:
        return calm(step) * (50 if step in (100, 130, 333) else 1) + max(0, step - 400) * 0.05

    whole, parts, found = Watch(WatchSpec()), Watch(WatchSpec()), ([], [])
    for step in range(1, 600):
        norms = {"a": 1.0, "b": 1.0 if step < 300 else 1e-7}
        for watch, told in ((whole, found[0]), (parts, found[1])):
            told += watch.after_step(step, losses(step), 1.0, True)
            told += watch.after_layer_norms(step, norms) if step % 10 == 0 else []
            told += watch.after_evaluation(step, 2 + step / 100, None) if step % 50 == 0 else []
        if step % 37 == 0:
            parts = Watch(WatchSpec(), json.loads(json.dumps(parts.to_json())))
    assert found[0] == found[1] and len(found[0]) >= 5
    assert whole.to_json() == parts.to_json()


def test_after_a_rollback_baselines_begin_anew_and_cooldowns_stay() -> None:
    watch = Watch(WatchSpec())
    for step in range(1, 100):
        watch.after_step(step, calm(step), 1.0, True)
    assert [each.kind for each in watch.after_step(100, 500.0, 1.0, True)] == ["loss-spike"]
    watch.restart()
    assert watch.loss_limit() == math.inf
    told = [each for step in range(80, 100) for each in watch.after_step(step, calm(step), 1.0, True)]
    assert told == [] and math.isfinite(watch.loss_limit())
    assert "loss-spike" not in [each.kind for each in watch.after_step(100, 500.0, 1.0, True)]


def test_a_spike_at_a_step_that_was_not_applied_leaves_the_baseline_alone() -> None:
    watch = Watch(WatchSpec())
    for step in range(1, 100):
        watch.after_step(step, calm(step), 1.0, True)
    before = watch.loss_limit()
    watch.after_step(100, 500.0, 1.0, False)
    assert watch.loss_limit() == before


def test_every_kind_that_is_only_told_can_be_ignored_and_no_other_word() -> None:
    can_be = tuple(kind for kind in KINDS if kind not in ("hang", "disk-low"))
    assert WatchSpec(ignore=can_be).ignore == can_be
    with pytest.raises(ValidationError):
        WatchSpec(ignore=("loss_spike",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "setting"), [("hang", "guard.hang_seconds"), ("disk-low", "guard.disk_reserve_megabytes")]
)
def test_what_is_acted_on_cannot_be_ignored_and_the_setting_that_moves_it_is_named(kind: Kind, setting: str) -> None:
    with pytest.raises(ValidationError, match=f'"{kind}" cannot be ignored.*{setting}'):
        WatchSpec(ignore=("plateau", kind))


def test_a_run_that_diverged_from_the_start_is_judged_by_its_new_first_losses_after_a_rollback() -> None:
    broken, healthy = [2.0, 3.0, 6.0, 9.0, 9.0, 9.0, 9.0, 9.0], [2.0, 2.1, 2.0, 1.9, 2.0, 1.9, 1.8, 1.9] * 3
    watch = Watch(WatchSpec(cooldown_steps=0))
    assert [each.kind for step, loss in enumerate(broken) for each in watch.after_step(step, loss, 1.0, True)] == [
        "divergence"
    ]
    watch.restart()
    assert [each for step, loss in enumerate(healthy) for each in watch.after_step(step, loss, 1.0, True)] == []
    watch = Watch(WatchSpec(cooldown_steps=0), json.loads(json.dumps(watch.to_json())))
    watch.restart()
    again = [each.kind for step in range(60) for each in watch.after_step(step, 9.0, 1.0, True)]
    assert again == ["divergence"], "the best level stays: it is where the run went back to"
