"""Outcomes after correction, and every way a verdict can go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stoker.analysis.comparison import Comparison, PairedScores, compare_family
from stoker.analysis.verdict import decide, describe
from stoker.spec.lab import EvaluateSpec


def comparison(benchmark: str = "heldout", against: str = "main/v1", **fields: object) -> Comparison:
    """A comparison on NLL that is clearly better; fields override."""
    made = Comparison(
        candidate="main/v2", against=against, benchmark=benchmark, metric="nll", n=100, candidate_score=0.8,
        against_score=0.9, difference=-0.1, low=-0.15, high=-0.05, p_value=0.001, p_value_corrected=0.002,
        outcome="better", minimum_detectable_effect=0.07, higher_is_better=False, is_primary=True,
    )  # fmt: skip
    return replace(made, **fields)  # type: ignore[arg-type]


def guard(difference: float, outcome: str, low: float, high: float, n: int = 100) -> Comparison:
    return comparison(
        "syllo-easy", metric="puzzle", higher_is_better=True, candidate_score=0.8 + difference, against_score=0.8,
        difference=difference, low=low, high=high, outcome=outcome, n=n,
    )  # fmt: skip


def test_better_on_the_target_is_promoted_and_says_the_numbers() -> None:
    verdict = decide([comparison()], EvaluateSpec(), "main/v1", "base")
    assert verdict.promote and verdict.outcome == "better"
    assert verdict.reason == (
        "Promoted main/v2 over main/v1: better on heldout: NLL 0.8 against 0.9, -0.1 "
        "(95 % interval -0.15 to -0.05, 100 items)."
    )


def test_without_a_parent_the_base_is_the_opponent() -> None:
    verdict = decide([comparison(against="base")], EvaluateSpec(), None, "base")
    assert verdict.promote and "over base" in verdict.reason


def test_better_than_the_base_is_not_enough_when_there_is_a_parent() -> None:
    same = comparison(difference=-0.001, low=-0.05, high=0.05, p_value=0.9, outcome="no-difference")
    verdict = decide([same, comparison(against="base")], EvaluateSpec(), "main/v1", "base")
    assert not verdict.promote and verdict.outcome == "no-difference"
    assert "a true difference of 0.07 nats would be found four times in five" in verdict.reason
    assert any(note.startswith("Better against base on heldout") for note in verdict.notes)


def test_worse_on_the_target_keeps_the_champion() -> None:
    worse = comparison(difference=0.1, low=0.05, high=0.15, outcome="worse")
    verdict = decide([worse], EvaluateSpec(), "main/v1", "base")
    assert (verdict.outcome, verdict.promote) == ("worse", False)
    assert verdict.reason.startswith("Kept main/v1: main/v2 is worse on heldout")


@pytest.mark.parametrize(
    ("held", "promote", "note"),
    [
        (guard(0.03, "no-difference", 0.0, 0.06), True, "holds, a fall above 2.0 points is excluded"),
        (guard(-0.01, "no-difference", -0.07, 0.05), True, "holds, but a fall of up to 7.0 points can't be excluded"),
        (guard(-0.015, "worse", -0.018, -0.01, 9000), True, "holds, a fall above 2.0 points is excluded"),
        (guard(-0.2, "worse", -0.3, -0.1), False, "lost, the margin is 2.0 points"),
    ],
)
def test_a_guard_forbids_promotion_only_by_a_proven_fall_above_the_margin(
    held: Comparison, promote: bool, note: str
) -> None:
    verdict = decide([comparison(), held], EvaluateSpec(guards=("syllo-easy",)), "main/v1", "base")
    assert verdict.promote is promote and verdict.outcome == "better"
    assert any(note in each for each in verdict.notes)
    assert promote or "fell by more than 2.0 points on syllo-easy: puzzle 60.0 % against 80.0 %" in verdict.reason


def test_the_margin_is_read() -> None:
    held = guard(-0.2, "worse", -0.3, -0.1)
    spec = EvaluateSpec(guards=("syllo-easy",), margin=0.25)
    assert decide([comparison(), held], spec, "main/v1", "base").promote


def test_the_held_out_set_can_be_a_guard_in_nats() -> None:
    target = replace(guard(0.1, "better", 0.05, 0.15), benchmark="bench")
    spec = EvaluateSpec(target="bench", guards=("heldout",))
    worse = comparison(difference=0.1, low=0.05, high=0.15, outcome="worse")
    verdict = decide([target, worse], spec, "main/v1", "base")
    assert not verdict.promote and "fell by more than 0.02 nats on heldout" in verdict.reason
    assert decide([target, comparison()], spec, "main/v1", "base").promote


def test_a_guard_that_was_not_measured_forbids_promotion() -> None:
    spec = EvaluateSpec(guards=("gone",))
    verdict = decide([comparison()], spec, "main/v1", "base", {"gone": "no such benchmark"})
    assert not verdict.promote and "a guard could not be measured (gone: no such benchmark)" in verdict.reason


def test_without_the_target_nothing_is_promoted_and_the_reason_says_so() -> None:
    verdict = decide(
        [guard(0.1, "better", 0.05, 0.15)], EvaluateSpec(), "main/v1", "base", {"heldout": "no sealed rows"}
    )
    assert (verdict.outcome, verdict.promote) == ("no-difference", False)
    assert verdict.reason == "Kept main/v1: nothing can be said on the target heldout (no sealed rows)."


def test_secondary_metrics_never_decide() -> None:
    secondary = comparison(metric="f1", is_primary=False)
    assert not decide([secondary], EvaluateSpec(), "main/v1", "base").promote


def test_a_loss_on_a_benchmark_that_is_no_guard_is_noted() -> None:
    verdict = decide([comparison(), guard(-0.2, "worse", -0.3, -0.1)], EvaluateSpec(), "main/v1", "base")
    assert verdict.promote
    assert any(note.startswith("Worse on syllo-easy") and "not a guard" in note for note in verdict.notes)


def test_significant_alone_but_not_over_all_benchmarks_is_said() -> None:
    target = comparison(p_value=0.04, p_value_corrected=0.12, outcome="no-difference")
    assert (
        "p = 0.04 alone becomes 0.12 over all benchmarks" in decide([target], EvaluateSpec(), "main/v1", "base").reason
    )


def scores(benchmark: str, num_better: int, num_worse: int, is_primary: bool = True) -> PairedScores:
    candidate = np.array([1.0] * num_better + [0.0] * num_worse + [1.0] * 20)
    against = np.array([0.0] * num_better + [1.0] * num_worse + [1.0] * 20)
    return PairedScores(benchmark, "exact", candidate, against, is_binary=True, is_primary=is_primary)


def test_outcomes_are_decided_after_correction_over_the_benchmarks() -> None:
    alone = compare_family("b", "a", [scores("one", 6, 0)], 0.95, 200)
    assert (alone[0].outcome, alone[0].p_value) == ("better", 2 / 64)
    family = compare_family("b", "a", [scores("one", 6, 0), scores("two", 3, 3)], 0.95, 200)
    assert [each.outcome for each in family] == ["no-difference", "no-difference"]
    assert family[0].p_value_corrected == pytest.approx(4 / 64)
    assert family[0].minimum_detectable_effect > alone[0].minimum_detectable_effect


def test_secondary_metrics_do_not_weaken_the_primary_ones() -> None:
    family = compare_family("b", "a", [scores("one", 6, 0), scores("one", 6, 0, is_primary=False)], 0.95, 200)
    assert [each.p_value_corrected for each in family] == pytest.approx([2 / 64, 4 / 64])
    assert [each.outcome for each in family] == ["better", "no-difference"]


def test_lower_nll_is_better_and_the_difference_is_candidate_minus_against() -> None:
    against = np.linspace(1, 2, 12)
    nll = PairedScores("heldout", "nll", against - 0.1, against, is_binary=False, higher_is_better=False)
    (found,) = compare_family("b", "a", [nll], 0.95, 200)
    assert found.outcome == "better" and found.difference == pytest.approx(-0.1)
    assert found.candidate_score == pytest.approx(1.4) and found.against_score == pytest.approx(1.5)
    assert "NLL 1.4 against 1.5, -0.1" in describe(found, 0.95)


def test_graded_metrics_of_too_few_items_are_left_out() -> None:
    few = PairedScores("x", "f1", np.ones(5), np.zeros(5), is_binary=False)
    assert compare_family("b", "a", [few, scores("one", 6, 0)], 0.95, 200)[0].benchmark == "one"


def test_confidence_and_resamples_change_the_interval() -> None:
    rng = np.random.default_rng(0)
    nll = PairedScores("heldout", "nll", rng.normal(size=30), rng.normal(size=30), False, True, False)
    wide, narrow = (compare_family("b", "a", [nll], level, 1000)[0] for level in (0.99, 0.8))
    assert wide.high - wide.low > narrow.high - narrow.low
    assert compare_family("b", "a", [nll], 0.8, 2000)[0].low != narrow.low


def test_a_model_against_itself_is_seldom_better() -> None:
    """The short form of benchmarks/verdict_aa.py: marks and NLL of one model, drawn twice."""
    rng = np.random.default_rng(17)
    num_better = num_found = 0
    for index in range(100):
        chance, centre = rng.beta(0.6, 0.6, 60), rng.lognormal(0, 0.7, 60)
        first, second = ((rng.random(60) < chance).astype(float) for _ in range(2))
        low, high = (centre * np.exp(rng.normal(0, 0.1, 60)) for _ in range(2))
        family = [
            PairedScores("heldout", "nll", low, high, is_binary=False, higher_is_better=False),
            PairedScores("marks", "exact", first, second, is_binary=True),
        ]
        num_better += any(each.outcome == "better" for each in compare_family("b", "a", family, 0.95, 400, index))
        planted = replace(family[0], candidate=low - 0.2)
        num_found += compare_family("b", "a", [planted], 0.95, 400, index)[0].outcome == "better"
    assert num_better <= 5
    assert num_found >= 95
