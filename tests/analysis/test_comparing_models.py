"""Models compared by their items: the numbers by hand, what can't be compared and why, what follows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from answered import answered

from stoker.analysis.comparing import SAME, Compared, Line, Measured, compare_models
from stoker.analysis.disagreements import disagreements
from stoker.analysis.recommending import recommend

# 10 both right, 20 only B, 5 only A, 25 neither.
A_MARKS = [1.0] * 10 + [0.0] * 20 + [1.0] * 5 + [0.0] * 25
B_MARKS = [1.0] * 10 + [1.0] * 20 + [0.0] * 5 + [0.0] * 25


def compare(*measured: Measured, models: list[str] | None = None) -> Compared:
    found: dict[str, dict[str, Measured]] = {}
    for one in measured:
        found.setdefault(one.result.benchmark, {})[one.result.model] = one
    names = models or list(dict.fromkeys(one.result.model for one in measured))
    return compare_models(names, found, 0.95, 1000)


def only_line(compared: Compared) -> Line:
    (line,) = compared.lines
    return line


def test_the_numbers_are_those_counted_by_hand() -> None:
    line = only_line(compare(answered("a", A_MARKS), answered("b", B_MARKS)))
    assert (line.n, line.only_a, line.only_b, line.left_out) == (60, 5, 20, 0)
    assert (line.a, line.b) == (15 / 60, 30 / 60)
    assert line.difference == pytest.approx(15 / 60)
    by_hand = 2 * sum(math.comb(25, k) for k in range(6)) / 2**25  # McNemar: 5 of 25 discordant pairs or fewer
    assert line.p_value == pytest.approx(by_hand) == line.p_corrected
    assert 0 < line.low < 0.25 < line.high < 0.5
    assert 0.1 < line.minimum_detectable < 0.35
    assert line.outcome == "better"


def test_the_other_way_around_is_the_same_turned_over() -> None:
    forth = only_line(compare(answered("a", A_MARKS), answered("b", B_MARKS)))
    back = only_line(compare(answered("b", B_MARKS), answered("a", A_MARKS)))
    assert (back.difference, back.p_value, back.outcome) == (-forth.difference, forth.p_value, "worse")
    assert (back.low, back.high) == (pytest.approx(-forth.high), pytest.approx(-forth.low))


def test_models_that_answer_alike_do_not_differ() -> None:
    line = only_line(compare(answered("a", A_MARKS), answered("b", A_MARKS)))
    assert (line.difference, line.p_value, line.outcome) == (0, 1, SAME)


def test_only_items_that_both_answered_count() -> None:
    marks = [None, None, *B_MARKS[2:]]
    line = only_line(compare(answered("a", A_MARKS), answered("b", marks)))
    assert (line.n, line.left_out, line.a) == (58, 2, 13 / 58)


def test_disjoint_items_can_not_be_compared() -> None:
    compared = compare(answered("a", A_MARKS), answered("b", B_MARKS, first=100))
    assert not compared.lines
    assert [one.reason for one in compared.missing] == ["no item was answered by both"]
    found = recommend(compared)
    assert (found.model, found.outcome) == (None, "nothing to compare")


def test_a_benchmark_that_only_one_has_is_told_of() -> None:
    compared = compare(
        answered("a", A_MARKS), answered("b", B_MARKS), answered("b", B_MARKS, benchmark="words"), models=["a", "b"]
    )
    assert only_line(compared).benchmark == "sums"
    assert [(one.benchmark, one.reason) for one in compared.missing] == [("words", "only one of them has a result")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"settings": {"shots": 5, "max_new_tokens": 512}}, "different settings: shots 0 and 5"),
        ({"benchmark_sha256": "cd" * 32}, "different versions of its file"),
        ({"metric": "normalised"}, "scored differently"),
    ],
)
def test_results_that_are_not_of_the_same_question_are_kept_apart(fields: dict, words: str) -> None:  # type: ignore[type-arg]
    compared = compare(answered("a", A_MARKS), answered("b", B_MARKS, **fields))
    assert not compared.lines
    assert words in compared.missing[0].reason


def test_another_precision_is_compared_and_said() -> None:
    settings = {"shots": 0, "max_new_tokens": 512}
    compared = compare(
        answered("a", A_MARKS, settings={**settings, "precision": "fp32"}),
        answered("b", B_MARKS, settings={**settings, "precision": "bf16"}),
    )
    assert compared.lines and "precision (bf16: b; fp32: a)" in compared.notes[0]


def test_too_few_graded_items_are_no_test() -> None:
    few = [0.2, 0.4, 0.9]
    compared = compare(
        answered("a", few, is_mark=False, metric="f1"), answered("b", few[::-1], is_mark=False, metric="f1")
    )
    assert "only 3 items were answered by both; at least 6" in compared.missing[0].reason


def test_a_lower_nll_is_better() -> None:
    rng = np.random.default_rng(1)
    nlls = rng.lognormal(0, 0.5, 60)
    better = [float(value) for value in nlls - 0.2 + rng.normal(0, 0.05, 60)]
    line = only_line(compare(answered("a", [*map(float, nlls)], metric="nll"), answered("b", better, metric="nll")))
    assert line.difference == pytest.approx(np.mean(better) - np.mean(nlls))
    assert line.high < 0 and line.outcome == "better" and line.only_b > 50 and not line.higher_is_better


def test_nll_is_shown_beside_marks_but_not_across_tokenizers() -> None:
    nlls = [1.0 + place / 60 for place in range(60)]
    lower = [value - 0.1 - place / 1000 for place, value in enumerate(nlls)]
    line = only_line(compare(answered("a", A_MARKS, nlls=nlls), answered("b", B_MARKS, nlls=lower)))
    assert line.nll is not None
    assert line.nll.difference == pytest.approx(np.mean(lower) - np.mean(nlls))
    assert line.nll.low <= line.nll.difference <= line.nll.high < 0
    apart = only_line(compare(answered("a", A_MARKS, nlls=nlls), answered("b", B_MARKS, nlls=lower, tokens=7)))
    assert apart.nll is None
    none = compare(answered("a", nlls, metric="nll"), answered("b", lower, metric="nll", tokens=7))
    assert "tokenizers" in none.missing[0].reason


def test_three_models_are_three_pairs_under_one_error_rate() -> None:
    compared = compare(answered("a", A_MARKS), answered("b", B_MARKS), answered("c", A_MARKS))
    assert [(line.model_a, line.model_b) for line in compared.lines] == [("a", "b"), ("a", "c"), ("b", "c")]
    (best, _, worst) = compared.lines
    assert best.p_corrected == pytest.approx(3 * best.p_value)
    assert (best.outcome, worst.outcome) == ("better", "worse")


def test_more_benchmarks_make_the_same_difference_harder_to_show() -> None:
    alone = only_line(compare(answered("a", A_MARKS), answered("b", B_MARKS)))
    noise = [one for name in "wxyz" for one in (
        answered("a", A_MARKS, benchmark=name), answered("b", A_MARKS, benchmark=name)
    )]  # fmt: skip
    among = compare(answered("a", A_MARKS), answered("b", B_MARKS), *noise).lines[0]
    assert among.p_value == alone.p_value
    assert among.p_corrected == pytest.approx(5 * alone.p_value)
    assert among.minimum_detectable > alone.minimum_detectable


def test_the_better_model_is_recommended_with_its_reason() -> None:
    found = recommend(compare(answered("a", A_MARKS), answered("b", B_MARKS)))
    assert (found.model, found.outcome) == ("b", "better")
    assert "Use b: better than a on sums (50.0 % against 25.0 %)." in found.reason


def test_without_a_difference_the_smaller_one_then_the_faster_one_is_recommended() -> None:
    def choose(a: dict[str, float], b: dict[str, float]) -> tuple[str | None, str]:
        found = recommend(compare(answered("a", A_MARKS, **a), answered("b", A_MARKS, **b)))
        assert found.outcome == SAME and found.reason.startswith("No detectable difference between a and b on sums")
        return found.model, found.reason

    big, small = {"memory_bytes": 2_000_000_000}, {"memory_bytes": 1_000_000_000}
    assert choose(big, small) == ("b", choose(big, small)[1])
    assert "b: it is smaller than a (1.0 GB against 2.0 GB in memory)" in choose(big, small)[1]
    model, reason = choose({**big, "tokens_per_second": 100.0}, {**big, "tokens_per_second": 200.0})
    assert model == "b" and "faster than a (200 against 100 tokens/s)" in reason
    assert choose({**small, "tokens_per_second": 100.0}, {**big, "tokens_per_second": 200.0})[0] == "a"
    model, reason = choose(big, big)
    assert model is None and "a and b will do" in reason


def test_better_here_and_worse_there_is_a_trade_off() -> None:
    found = recommend(
        compare(
            answered("a", A_MARKS), answered("b", B_MARKS), answered("a", B_MARKS, benchmark="words"),
            answered("b", A_MARKS, benchmark="words"),
        )
    )  # fmt: skip
    assert (found.model, found.outcome) == (None, "trade-off")
    assert "a is better than b on words" in found.reason and "b on sums" in found.reason


def test_of_three_the_one_that_beats_another_is_recommended_and_its_equal_named() -> None:
    close = [*B_MARKS[:25], 0.0, *B_MARKS[26:30], *B_MARKS[30:]]
    compared = compare(
        answered("a", A_MARKS, memory_bytes=1000), answered("b", B_MARKS, memory_bytes=1000),
        answered("c", close, memory_bytes=500),
    )  # fmt: skip
    found = recommend(compared)
    assert found.outcome == "better" and found.model == "c"
    assert "No detectable difference from b, but c is smaller than b" in found.reason


def test_a_model_that_could_not_be_compared_is_not_called_equal() -> None:
    found = recommend(compare(answered("a", A_MARKS), answered("b", A_MARKS), answered("c", B_MARKS, first=100)))
    assert "between a and b on sums" in found.reason and found.reason.endswith("Nothing can be said of c.")


def test_disagreements_take_turns_between_the_sides() -> None:
    found = {"sums": {"a": answered("a", A_MARKS), "b": answered("b", B_MARKS)}}
    shown = disagreements(["a", "b"], found, 4)
    assert len(shown) == 4
    winners = [max(one.given, key=lambda given: given.score).model for one in shown]
    assert sorted(winners) == ["a", "a", "b", "b"]
    assert all({given.score for given in one.given} == {0.0, 1.0} for one in shown)
    assert shown[0].given[0].answer in ("yes", "no")
    assert len(disagreements(["a", "b"], found, 100)) == 25
    assert disagreements(["a", "b"], found, 0) == []


def test_the_widest_apart_come_first_among_graded_scores() -> None:
    grades = [[0.1, 0.5, 0.2, 0.9, 0.3, 0.3], [0.1, 0.6, 0.8, 0.5, 0.3, 0.3]]
    found = {"f": {name: answered(name, marks, is_mark=False, metric="f1", benchmark="f")
                   for name, marks in zip("ab", grades, strict=True)}}  # fmt: skip
    shown = disagreements(["a", "b"], found, 9)
    spreads = [abs(one.given[0].score - one.given[1].score) for one in shown]
    assert [one.id for one in shown] == ["q2", "q3", "q1"]
    assert all(first >= second for first, second in itertools.pairwise(spreads))
