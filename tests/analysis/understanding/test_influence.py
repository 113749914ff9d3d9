"""Effects of files from measurements: planted ones found, drift and trifles not called harm, chance corrected for."""

from __future__ import annotations

import numpy as np
import pytest

from stoker.analysis.understanding.influence import Measured, effects
from stoker.analysis.understanding.lines import Step, step_effects
from stoker.analysis.understanding.marks import MarkedSet, mark
from stoker.mailbox.benches import BenchItem


def file(name: str, mean: float, *, num: int = 40, seed: int = 0, draws: tuple[float, ...] = ()) -> Measured:
    values = np.random.default_rng([seed, *name.encode()]).normal(mean, 0.1, num)
    return Measured(name, f"{name}.jsonl", {f"i{n}": float(value) for n, value in enumerate(values)}, draws)


def outcomes(*files: Measured, is_paired: bool = True) -> dict[str, str]:
    return {one.dataset: one.outcome for one in effects("b", files, 0.95, 1000, is_paired=is_paired)}


def test_the_harmful_file_comes_first_with_its_interval() -> None:
    found = effects("b", [file("good", -0.2), file("bad", 0.3), file("idle", 0.0)], 0.95, 1000, is_paired=True)
    assert [(one.dataset, one.outcome) for one in found] == [
        ("bad", "hurts"),
        ("idle", "no-difference"),
        ("good", "helps"),
    ]
    bad, idle, good = found
    assert bad.low < 0.3 < bad.high and bad.n == 40 and bad.effect == pytest.approx(0.3, abs=0.05)
    assert bad.against_others == pytest.approx(bad.effect - (idle.effect + good.effect) / 2)


def test_steps_that_raise_the_loss_on_every_file_speak_against_none() -> None:
    draws = [outcomes(*(file(name, 0.3, seed=seed) for name in "abcd")) for seed in range(40)]
    assert sum(set(found.values()) != {"no-difference"} for found in draws) <= 5
    assert set(outcomes(*(file(name, 0.3) for name in "abcd"), is_paired=False).values()) == {"hurts"}


def test_a_sure_trifle_is_no_difference() -> None:
    trifle = Measured("trifle", "t", {f"i{n}": 0.001 + n * 1e-6 for n in range(40)})
    assert outcomes(trifle, file("bad", 0.4), is_paired=False) == {"bad": "hurts", "trifle": "no-difference"}
    assert outcomes(trifle, is_paired=False) == {"trifle": "hurts"}


def test_draws_of_rows_that_disagree_prove_nothing() -> None:
    assert outcomes(file("a", 0.3, draws=(0.4, 0.2))) == {"a": "hurts"}
    assert outcomes(file("a", 0.3, draws=(0.7, -0.1))) == {"a": "no-difference"}


def test_files_without_influence_are_cleared_in_nineteen_of_twenty_draws() -> None:
    wrong = 0
    for seed in range(100):
        found = outcomes(*(file(name, 0.0, num=20, seed=seed) for name in "abcd"), is_paired=False)
        wrong += set(found.values()) != {"no-difference"}
    assert wrong <= 10


def test_too_few_units_are_left_out() -> None:
    assert outcomes(file("a", 0.3, num=5), file("b", 0.3)) == {"b": "hurts"}


def marked(right: set[int], num: int = 60) -> MarkedSet:
    items = [
        BenchItem(
            id=f"i{n}", prompt="p", expected="e", answer="a", scores={"exact": float(n in right)}, nll=1.0 + 0.01 * n
        )
        for n in range(num)
    ]
    return mark(items, "exact")


def step(version: str, before: set[int], after: set[int]) -> Step:
    return Step(version, "base", "shelf", (f"{version}.jsonl",), ("old.jsonl",), marked(after), marked(before))


def test_the_change_from_parent_to_version_is_that_of_its_file() -> None:
    half = set(range(30))
    helped, hurt, idle = step_effects(
        [step("v1", half, set(range(45))), step("v2", half, set(range(15))), step("v3", half, half ^ {1, 40})],
        0.95,
        1000,
    )
    assert [one.outcome for one in (helped, hurt, idle)] == ["helps", "hurts", "no-difference"]
    assert (helped.change, helped.before, helped.after, helped.n) == (0.25, 0.5, 0.75, 60)
    assert helped.files == ("v1.jsonl",) and helped.replayed == ("old.jsonl",)
    assert helped.p_value_corrected == pytest.approx(3 * helped.p_value)


def test_a_falling_nll_helps() -> None:
    items = [BenchItem(id=f"i{n}", prompt="p", expected="e", nll=2.0 + n / 100) for n in range(40)]
    lower = [item.model_copy(update={"nll": (item.nll or 0) - 0.5}) for item in items]
    before, after = mark(items, "nll"), mark(lower, "nll")
    (found,) = step_effects([Step("v1", "base", "heldout", ("f",), (), after, before)], 0.95, 1000)
    assert (found.outcome, found.metric) == ("helps", "nll") and found.change == pytest.approx(-0.5)


def test_only_items_that_both_answered_count() -> None:
    first, second = marked({1, 2}, 20), marked({1, 2, 3}, 40)
    (found,) = step_effects([Step("v1", "base", "b", ("f",), (), second, first)], 0.95, 1000)
    assert found.n == 20
    assert step_effects([Step("v1", "base", "b", ("f",), (), second, mark([], "exact"))], 0.95, 1000) == []
