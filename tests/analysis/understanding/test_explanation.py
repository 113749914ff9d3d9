"""What kept answers say: planted weak categories, confusions, overconfidence and groups of failures are found again."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from stoker.analysis.understanding.categories import by_category
from stoker.analysis.understanding.confidence import reliability
from stoker.analysis.understanding.confusion import confusion
from stoker.analysis.understanding.explanation import explain
from stoker.analysis.understanding.failures import kind_of, lengths_of, repeats
from stoker.analysis.understanding.groups import group_failures, mean_silhouette, telling_words
from stoker.analysis.understanding.marks import Marked, mark
from stoker.mailbox.benches import BenchItem


def item(number: int, expected: str, answer: str | None, **fields: Any) -> BenchItem:
    given = {"prompt": f"question {number}", "finished": True, **fields}
    right = {"exact": float(answer == expected)} if answer is not None else {}
    return BenchItem(id=f"i{number}", expected=expected, answer=answer, scores=given.pop("scores", right), **given)


def marked(*items: BenchItem, primary: str = "exact", right_at: float = 1.0) -> list[Marked]:
    return list(mark(items, primary, right_at).items)


def coin(number: int, share: float, **fields: Any) -> BenchItem:
    return item(number, "yes", "yes" if random.Random(number).random() < share else "no", **fields)


def test_a_weak_category_stands_out_and_the_others_do_not() -> None:
    shares = {"weak": 0.3, "one": 0.7, "two": 0.7}
    items = [coin(n, shares[name], category=name) for n, name in enumerate(list(shares) * 80)]
    found = by_category(mark(items, "exact"), 0.95, 1000)
    weak = found[0]
    assert (weak.name, weak.outcome) == ("weak", "worse")
    assert {one.outcome for one in found[1:]} <= {"no-difference", "better"}
    mine = [one.scores["exact"] for one in items if one.category == "weak"]
    rest = [one.scores["exact"] for one in items if one.category != "weak"]
    assert weak.score == pytest.approx(np.mean(mine)) and weak.difference == pytest.approx(
        np.mean(mine) - np.mean(rest)
    )
    assert weak.low is not None and weak.high is not None and weak.low < weak.score < weak.high
    assert weak.p_value_corrected is not None and weak.p_value_corrected >= 3 * (weak.p_value or 0) * 0.99


def test_equal_categories_are_told_apart_in_one_of_twenty_draws_at_most() -> None:
    """Four categories of one model, 100 draws each of marks and of graded scores."""
    draw = np.random.default_rng(5)
    for scale in (lambda x: float(x < 0.5), float):
        wrong = 0
        for _ in range(100):
            values = draw.random(80)
            items = [
                item(n, "a", "b", category="wxyz"[n % 4], scores={"exact": scale(v)}) for n, v in enumerate(values)
            ]
            wrong += any(one.outcome != "no-difference" for one in by_category(mark(items, "exact"), 0.95, 400))
        assert wrong <= 10


def test_graded_scores_and_likelihood_have_a_direction() -> None:
    items = [item(n, "a", "b", category="xy"[n % 2], nll=1.0 + (n % 2) + 0.01 * n) for n in range(40)]
    found = by_category(mark(items, "nll"), 0.95, 1000)
    assert [(one.name, one.outcome) for one in found] == [("y", "worse"), ("x", "better")], "a low NLL is good"


def test_one_category_has_no_rest() -> None:
    (only,) = by_category(mark([coin(n, 0.5, category="all") for n in range(20)], "exact"), 0.95, 100)
    assert (only.difference, only.p_value, only.outcome) == (None, None, "no-difference")


def test_few_distinct_answers_make_a_confusion_matrix() -> None:
    planted = (
        [("good", "good")] * 6 + [("good", "Bad.")] * 3 + [("bad", "bad")] * 4 + [("bad", "dunno")] + [("bad", "")] * 2
    )
    found = confusion(marked(*(item(n, a, b) for n, (a, b) in enumerate(planted))))
    assert found is not None and found.kind == "answers"
    assert (found.rows, found.columns) == (("bad", "good"), ("bad", "good", "(other)", "(none)"))
    assert found.counts == ((4, 0, 1, 2), (3, 6, 0, 0))
    assert found.commonest(1) == [("good", "bad", 3)]
    bad = found.labels[0]
    assert (bad.expected, bad.given, bad.recall, bad.precision) == (7, 7, 4 / 7, 4 / 7)
    agreed, chance = 10 / 16, (7 * 7 + 9 * 6) / 16**2
    assert found.kappa == pytest.approx((agreed - chance) / (1 - chance))


def test_an_answer_that_names_one_label_in_a_sentence_is_that_label() -> None:
    said = ["the answer is red", "red or blue", "blue"]
    found = confusion(
        marked(*(item(n, "blue", said[n % 3]) for n in range(9)), *(item(n, "red", "red") for n in range(9, 18)))
    )
    assert found is not None and found.counts[0] == (3, 3, 3)


def test_options_are_compared_by_their_place() -> None:
    """Every item has options of its own; the model always takes the first."""
    items = []
    for n in range(24):
        options = [f"{n}-{place}" for place in range(3)]
        right = options[n % 3]
        score = {"choice": float(right == options[0])}
        items.append(item(n, right, None, choice=options[0], scores=score, meta={"choices": options}))
    found = confusion(marked(*items, primary="choice"))
    assert found is not None and found.kind == "places" and found.rows == ("A", "B", "C")
    assert [row[0] for row in found.counts] == [8, 8, 8]


def test_many_distinct_answers_have_no_matrix() -> None:
    assert confusion(marked(*(item(n, f"answer {n}", "no") for n in range(100)))) is None
    assert confusion([]) is None


def sure(num: int, share: float, confidence: float, start: int = 0) -> list[BenchItem]:
    return [
        item(start + n, "a", "a" if n < round(num * share) else "b", confidence=confidence) for n in range(num)
    ]  # fmt: skip


def test_calibration_error_is_the_gap_of_each_bin_by_its_size() -> None:
    found = reliability(marked(*sure(60, 0.5, 0.95), *sure(40, 0.25, 0.25, 60)), 0.95, 2000)
    assert found is not None and found.error == pytest.approx(0.6 * 0.45)
    assert (found.outcome, found.n) == ("overconfident", 100) and found.p_value < 0.01
    assert [(one.n, one.accuracy) for one in found.bins] == [(40, 0.25), (60, 0.5)]
    assert found.separation == pytest.approx(((30 * 30 + 0.5 * 30 * 30) + (10 * 30 * 0.5 + 0)) / (40 * 60))


def test_a_calibrated_model_is_called_so_whatever_its_error() -> None:
    draw, calls = np.random.default_rng(3), []
    for _ in range(60):
        values = draw.random(50)
        items = [item(n, "a", "a" if draw.random() < v else "b", confidence=float(v)) for n, v in enumerate(values)]
        found = reliability(marked(*items), 0.95, 400)
        assert found is not None and found.error > 0.02, "chance alone makes an error"
        calls.append(found.outcome)
    assert calls.count("calibrated") >= 52


def test_too_few_items_say_nothing_of_confidence() -> None:
    assert reliability(marked(*sure(19, 0.5, 0.9)), 0.95, 100) is None


@pytest.mark.parametrize(
    ("expected", "answer", "kind"),
    [
        ("12", "", "empty"),
        ("12", "  ", "empty"),
        ("red", "no no no no no no", "repeats"),
        ("red", "I'm sorry, but I can't help with that.", "refusal"),
        ("I am sorry", "I am sorry, no", "near"),
        ("12", "twelve", "format"),
        ('{"a": 1}', "a is 1", "format"),
        ("red", "one\ntwo\nthree\nfour", "format"),
        ("1200", "1,230", "near"),
        ("12", "it is 400", "wrong"),
        ("San Francisco", "San Fransisco", "near"),
        ("red", "a bicycle", "wrong"),
    ],
)
def test_each_kind_of_failure_is_told(expected: str, answer: str, kind: str) -> None:
    (one,) = marked(item(1, expected, answer, scores={"exact": 0.0}))
    assert kind_of(one) == kind


def test_what_was_cut_off_or_repeats_is_told() -> None:
    (one,) = marked(item(1, "red", "a long tale of", finished=False))
    assert kind_of(one) == "cut-off"
    assert repeats("so it goes on and then the end the end the end the end")
    assert not repeats("one two three four five six seven eight") and not repeats("ha ha")
    assert repeats("hmmmmmmmmmmmm") and not repeats("")


def test_cut_off_and_overlong_answers_are_counted() -> None:
    found = lengths_of(marked(item(1, "red", "x" * 40, finished=False), item(2, "red", "red"), item(3, "blue", "blue")))
    assert found is not None and (found.num_cut_off, found.num_overlong, found.num_answers) == (1, 1, 3)
    assert lengths_of(marked(item(1, "red", None))) is None


def failing() -> list[BenchItem]:
    names = ("Ada", "Ben", "Cyd", "Dov", "Eli", "Fay", "Gus", "Hal")
    places = ("Rome", "Oslo", "Lima", "Kyiv", "Bern", "Doha", "Riga", "Suva")
    sums = [item(n, "1", "2", prompt=f"How many apples has {names[n]} after a sale of {n} apples?") for n in range(8)]
    trips = [item(10 + n, "1", "2", prompt=f"Which train leaves {places[n]} station before noon?") for n in range(8)]
    right = [item(30 + n, "x", "x", prompt=f"Which colour has stone {n}?") for n in range(20)]
    return [*sums, *trips, *right]


def test_failures_that_look_alike_are_grouped_with_their_words() -> None:
    everything = marked(*failing())
    wrong = [one for one in everything if not one.is_right]
    found = group_failures(wrong, everything)
    assert sorted(group.size for group in found.groups) == [8, 8] and found.num_alone == 0
    by_words = {frozenset(one.item.id for one in group.members): set(group.words) for group in found.groups}
    sums = by_words[frozenset(f"i{n}" for n in range(8))]
    assert "apples" in sums and not sums & {"train", "station", "colour"}
    assert "train" in by_words[frozenset(f"i{n}" for n in range(10, 18))]
    assert all(group.example in group.members for group in found.groups)


def test_too_few_failures_make_no_groups() -> None:
    everything = marked(*failing())
    found = group_failures([one for one in everything if not one.is_right][:5], everything)
    assert (found.groups, found.num_alone, found.silhouette) == ((), 5, None)


def test_failures_that_are_all_alike_are_one_group() -> None:
    everything = marked(*(item(n, "a", "b", prompt="the very same") for n in range(10)))
    found = group_failures(everything, everything)
    assert [group.size for group in found.groups] == [10] and found.silhouette == 0.0


def test_the_silhouette_is_that_of_the_definition() -> None:
    distances = np.array([[0, 1, 4, 5], [1, 0, 4, 5], [4, 4, 0, 2], [5, 5, 2, 0]], dtype=np.float64)
    expected = np.mean([(4.5 - 1) / 4.5, (4.5 - 1) / 4.5, (4 - 2) / 4, (5 - 2) / 5])
    assert mean_silhouette(distances, np.array([1, 1, 2, 2], dtype=np.int32)) == pytest.approx(expected)


def test_words_common_to_both_sides_tell_nothing() -> None:
    inside, outside = [["the", "boat", "sank"]] * 6, [["the", "cat", "slept"]] * 6
    assert set(telling_words(inside, outside)) == {"boat", "sank"}


def test_a_score_counts_as_right_from_the_mark_on() -> None:
    items = [item(n, "a", "b", scores={"f1": value}) for n, value in enumerate((0.2, 0.5, 1.0))]
    assert [one.is_right for one in marked(*items, primary="f1")] == [False, False, True]
    assert [one.is_right for one in marked(*items, primary="f1", right_at=0.5)] == [False, True, True]


def test_likelihood_alone_has_no_failures_and_says_so() -> None:
    items = [item(n, "a", None, nll=1.0 + n) for n in range(8)]
    found = explain("m", "b", "nll", "nll", items, confidence=0.95, resamples=100)
    assert found.score == pytest.approx(4.5) and found.marked.wrong == [] and found.kinds == ()
    assert any("only likelihood" in sentence for sentence in found.notes)


def test_what_is_left_out_does_not_count() -> None:
    items = [item(1, "a", "a"), item(2, "a", None, left_out="near a trained row")]
    found = explain("m", "b", "exact", "exact", items, confidence=0.95, resamples=100)
    assert (found.score, found.marked.num_left_out, len(found.marked.judged)) == (1.0, 1, 1)
