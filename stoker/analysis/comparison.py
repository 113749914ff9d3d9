"""Comparisons: the candidate against one other model, benchmark by benchmark, with the outcome after correction.

A family is one opponent: the error rate of "better" or "worse" is shared by all benchmarks' primary metrics (Holm).
Other metrics are shown too, corrected over everything in the family, so that none of them wins by being many.
It decides nothing about promotion; see verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stoker.analysis.statistics import Floats, PairedTest, compare_marks, compare_scores, holm, smallest_sample

Outcome = Literal["better", "worse", "no-difference"]


@dataclass(frozen=True, slots=True)
class PairedScores:
    """One metric of one benchmark, item by item in the same order for both models."""

    benchmark: str
    metric: str
    candidate: Floats
    against: Floats
    is_binary: bool
    is_primary: bool = True
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of `stoker eval list`. `difference` is candidate minus against, in the metric's own unit.

    `low` and `high` are the interval of the difference at the lab's confidence, before correction; `outcome` and
    `p_value_corrected` are after it.
    """

    candidate: str
    against: str
    benchmark: str
    metric: str
    n: int
    candidate_score: float
    against_score: float
    difference: float
    low: float
    high: float
    p_value: float
    p_value_corrected: float
    outcome: Outcome
    minimum_detectable_effect: float
    higher_is_better: bool
    is_primary: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_family(
    candidate: str,
    against: str,
    scores: Sequence[PairedScores],
    confidence: float,
    resamples: int,
    seed: int = 0,
    num_families: int = 1,
) -> list[Comparison]:
    """Compare the candidate with one other model on every benchmark and metric given.

    `num_families` is how many such comparisons will share the error rate; the detectable effects take it into account.

    Graded metrics with fewer items than any test could decide by are left out: there is no interval to show.
    """
    usable = [each for each in scores if is_decidable(len(each.candidate), each.is_binary, confidence)]
    num_primary = sum(each.is_primary for each in usable)
    tests = []
    for each in usable:
        num_tests = num_families * (num_primary if each.is_primary else len(usable))
        if each.is_binary:
            tests.append(compare_marks(each.candidate, each.against, confidence, num_tests))
        else:
            tests.append(compare_scores(each.candidate, each.against, confidence, resamples, seed, num_tests))
    corrected = _corrected(usable, tests)
    return [
        _comparison(candidate, against, each, test, p_corrected, confidence)
        for each, test, p_corrected in zip(usable, tests, corrected, strict=True)
    ]


def is_decidable(num_items: int, is_binary: bool, confidence: float) -> bool:
    """Tell whether so few items can give an interval at all."""
    return num_items >= (1 if is_binary else smallest_sample(confidence))


def _corrected(scores: Sequence[PairedScores], tests: Sequence[PairedTest]) -> list[float]:
    over_all = holm([test.p_value for test in tests])
    primary = [index for index, each in enumerate(scores) if each.is_primary]
    over_primary = holm([tests[index].p_value for index in primary])
    for index, p_value in zip(primary, over_primary, strict=True):
        over_all[index] = p_value
    return over_all


def _comparison(
    candidate: str, against: str, scores: PairedScores, test: PairedTest, p_corrected: float, confidence: float
) -> Comparison:
    outcome: Outcome = "no-difference"
    if p_corrected <= 1 - confidence + 1e-12 and test.difference != 0:
        outcome = "better" if (test.difference > 0) == scores.higher_is_better else "worse"
    return Comparison(
        candidate=candidate,
        against=against,
        benchmark=scores.benchmark,
        metric=scores.metric,
        n=test.n,
        candidate_score=float(scores.candidate.mean()),
        against_score=float(scores.against.mean()),
        difference=test.difference,
        low=test.low,
        high=test.high,
        p_value=test.p_value,
        p_value_corrected=p_corrected,
        outcome=outcome,
        minimum_detectable_effect=test.minimum_detectable_effect,
        higher_is_better=scores.higher_is_better,
        is_primary=scores.is_primary,
    )
