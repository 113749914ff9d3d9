"""Tables of what each scorer takes as right."""

from __future__ import annotations

import pytest

from stoker.analysis.scorers import find_scorer, is_scorable
from stoker.analysis.scorers.numbers import last_number
from stoker.analysis.scorers.texts import normalise, token_f1
from stoker.errors import DataError


def score(name: str, expected: str, answer: str) -> dict[str, float]:
    return find_scorer(name).score({}, expected, answer)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Quick, brown\tFox!", "quick brown fox"),
        ("an Apple a day", "apple day"),
        ("“Übung” — ja…", "übung ja"),
        ("theatre", "theatre"),
        ("3.14", "3.14"),
        ("3.", "3"),
        ("-5", "-5"),
        ("\u22125", "-5"),
        ("1,234,567", "1234567"),
        ("well-known", "wellknown"),
        ("2019-2020", "20192020"),
        ("(a)", ""),
        ("５", "5"),
        ("", ""),
    ],
)
def test_normalising_drops_case_articles_punctuation_and_space(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("expected", "answer", "is_right"),
    [
        ("Paris", "the paris.", True),
        ("Paris", "Paris, France", False),
        ("3.14", "314", False),
        ("-5", "5", False),
        ("+", "-", False),
        ("?!", " ?! ", True),
        ("A", "B", False),
        ("A", "A.", False),
        ("1,000", "1000", True),
        ("x", "", False),
    ],
)
def test_normalised_match(expected: str, answer: str, is_right: bool) -> None:
    assert score("normalised", expected, answer)["normalised"] == float(is_right)


def test_exact_match_forgives_nothing_but_space_around() -> None:
    assert score("exact", "Paris", " Paris\n") == {"exact": 1.0}
    assert score("exact", "Paris", "paris") == {"exact": 0.0}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 42.", 42),
        ("He has 3 apples and 5 pears", 5),
        ("Work: 48/2 = 24\n#### 72", 72),
        ("#### $1,234.50 in total, 3 days", 1234.5),
        ("12 in all ####", 12),
        ("Natalia sold 48+24 = <<48+24=72>>72 clips", 72),
        ("-7", -7),
        ("\u22127", -7),
        ("10-5", 5),
        ("(-5)", -5),
        ("x = - 3", -3),
        ("- 3 eggs", 3),
        ("12\u202f345", 12345),
        ("rows 5 100", 100),
        ("1.5/2", 2),
        ("½", 0.5),
        ("-$20", -20),
        ("$-20", -20),
        ("€1'000.5", 1000.5),
        ("1,2,3", 3),
        ("about 1,234,567 people", 1234567),
        ("0.5", 0.5),
        (".5", 0.5),
        ("50%", 50),
        ("1e-5", 1e-5),
        ("3/4 of it", 0.75),
        ("2024/05/06", 6),
        ("1/0", 0),
        ("version 2x", 2),
        ("no number", None),
        ("", None),
    ],
)
def test_the_number_an_answer_ends_on(text: str, number: float | None) -> None:
    found = last_number(text)
    assert found == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("expected", "answer", "is_right"),
    [
        ("72", "#### 72", True),
        ("72", "72.0 clips", True),
        ("1000000", "$1,000,000", True),
        ("1000000", "1000001", True),
        ("1000", "1001", False),
        ("0", "0.0", True),
        ("0", "0.001", False),
        ("3/4", "0.75", True),
        ("3/4", "1/4", False),
        ("72", "seventy-two", False),
        ("5", "9" * 400, False),
    ],
)
def test_numbers_are_equal_within_a_millionth(expected: str, answer: str, is_right: bool) -> None:
    assert score("number", expected, answer) == {"number": float(is_right)}


def test_an_item_whose_own_answer_gets_no_full_score_can_not_be_scored() -> None:
    assert not is_scorable(find_scorer("number"), {}, "none of them")
    assert is_scorable(find_scorer("number"), {}, "7 of them")
    assert is_scorable(find_scorer("f1"), {}, "none of them")
    assert is_scorable(find_scorer("nll"), {}, "")
    assert not is_scorable(find_scorer("syllo"), {"words": []}, "1. gar-den")


@pytest.mark.parametrize(
    ("expected", "answer", "f1"),
    [
        ("the cat sat", "a cat sat", 1.0),
        ("cat sat mat", "cat", 0.5),
        ("cat cat dog", "cat bird", 2 * 1 / 5),
        ("cat", "dog", 0.0),
        ("cat", "", 0.0),
        ("the", "a", 0.0),
        ("the", "the", 1.0),
    ],
)
def test_token_f1_by_hand(expected: str, answer: str, f1: float) -> None:
    assert token_f1(expected, answer) == pytest.approx(f1)
    assert score("f1", expected, answer)["f1"] == pytest.approx(f1)


def test_each_scorer_names_its_primary_metric_and_gives_the_metrics_it_declares() -> None:
    primaries = {name: find_scorer(name).primary for name in ("exact", "normalised", "number", "f1", "syllo", "nll")}
    assert primaries == {
        "exact": "exact", "normalised": "normalised", "number": "number", "f1": "f1", "syllo": "puzzle", "nll": "nll",
    }  # fmt: skip
    for name in ("exact", "normalised", "number", "f1", "nll"):
        assert set(score(name, "1", "1")) == set(find_scorer(name).metrics)
        assert all(value == 1.0 for value in score(name, "1", "1").values())
    assert not find_scorer("nll").needs_answer


def test_syllo_answers_are_marked_by_the_tasks_own_scorer() -> None:
    from stoker.tasks.syllo.generate import generate_puzzles

    puzzle = next(iter(generate_puzzles(1, seed=3, level="easy")))
    item = puzzle.to_item_json()
    scorer = find_scorer("syllo")
    assert scorer.score(item["meta"], item["answer"], item["answer"]) == dict.fromkeys(scorer.metrics, 1.0)
    assert scorer.score(item["meta"], item["answer"], "no idea")["puzzle"] == 0.0


def test_an_unknown_scorer_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(DataError, match="scorer 'blue' is not known; scorers are: basics, bleu, choice"):
        find_scorer("blue")
