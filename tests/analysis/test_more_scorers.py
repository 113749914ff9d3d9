"""Numbers with a tolerance, choices, patterns, JSON, aliases; BLEU, chrF and ROUGE against the libraries they are from."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from stoker.analysis.scorers import find_scorer, is_scorable
from stoker.analysis.scorers.structured import json_f1, parse_json
from stoker.errors import DataError

CHOICES = ["Paris", "New York", "York", "no answer"]


def score(name: str, expected: str, answer: str, meta: Any = None, **options: Any) -> dict[str, float]:
    return find_scorer(name, options).score(meta or {}, expected, answer)


@pytest.mark.parametrize(
    ("answer", "options", "is_right"),
    [
        ("3.14", {}, False),
        ("3.14159", {}, True),
        ("3.14", {"tolerance": 0.001}, True),
        ("3.2", {"tolerance": 0.001}, False),
        ("3.2", {"margin": 0.1}, True),
        ("3.3", {"margin": 0.1}, False),
        ("no idea", {"margin": 100}, False),
    ],
)
def test_a_number_is_right_within_its_tolerance(answer: str, options: dict[str, float], is_right: bool) -> None:
    assert score("number", "3.14159", answer, **options) == {"number": float(is_right)}


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("B", True),
        ("(b)", True),
        ("B. New York", True),
        ("The answer is B", True),
        ("The correct answer is: (B).", True),
        ("new york!", True),
        ("I think it is New York.", True),
        ("York", False),
        ("A", False),
        ("A or B", False),
        ("The answer is A. No, the answer is B.", False),
        ("Paris or New York", False),
        ("E", False),
        ("", False),
        ("I don't know", False),
    ],
)
@pytest.mark.parametrize("expected", ["B", "New York"])
def test_a_choice_is_read_from_its_letter_or_its_text(expected: str, answer: str, is_right: bool) -> None:
    assert score("choice", expected, answer, {"choices": CHOICES}) == {"choice": float(is_right)}


def test_a_choice_whose_expected_answer_is_none_of_its_options_is_not_scorable() -> None:
    scorer = find_scorer("choice")
    assert is_scorable(scorer, {"choices": CHOICES}, "D") and is_scorable(scorer, {"choices": CHOICES}, "Paris")
    assert not is_scorable(scorer, {"choices": CHOICES}, "E")
    assert not is_scorable(scorer, {"choices": CHOICES}, "London")
    assert not is_scorable(scorer, {}, "A")


@pytest.mark.parametrize(
    ("expected", "answer", "is_right"),
    [
        ("Paris", "It is Paris.", True),
        ("New York", "in new york, of course", True),
        ("New York", "new and York", False),
        ("cat", "concatenate", False),
        ("?!", "what?!", True),
        ("?!", "what", False),
    ],
)
def test_contained_means_the_words_in_a_row(expected: str, answer: str, is_right: bool) -> None:
    assert score("contains", expected, answer) == {"contains": float(is_right)}


@pytest.mark.parametrize("name", ["exact", "normalised", "contains", "f1", "number", "json", "bleu", "chrf", "rouge"])
def test_an_alias_is_as_right_as_the_expected_answer(name: str) -> None:
    scorer = find_scorer(name)
    expected, alias = "[1, 2, 3, 4]", "[5, 6, 7, 8]"
    assert scorer.score({"aliases": [alias]}, expected, alias)[scorer.primary] == pytest.approx(1.0)
    assert scorer.score({}, expected, alias)[scorer.primary] < 1.0


def test_a_pattern_takes_the_last_match_and_compares_it() -> None:
    pattern = r"answer:\s*(\w+)"
    assert score("regex", "7", "answer: 3, no, answer: 7", pattern=pattern) == {"regex": 1.0}
    assert score("regex", "3", "answer: 3, no, answer: 7", pattern=pattern) == {"regex": 0.0}
    assert score("regex", "7", "7", pattern=pattern) == {"regex": 0.0}
    assert score("regex", "", "the year 1984", {"pattern": r"\b19\d\d\b"}) == {"regex": 1.0}
    assert score("regex", "", "the year 1784", {"pattern": r"\b19\d\d\b"}) == {"regex": 0.0}
    with pytest.raises(DataError, match="no regular expression"):
        find_scorer("regex", {"pattern": "("})


def test_a_pattern_that_would_take_for_ever_does_not_match() -> None:
    assert score("regex", "x", "a" * 40 + "!", pattern=r"(a+)+$") == {"regex": 0.0}


@pytest.mark.parametrize(
    ("answer", "whole", "parts"),
    [
        ('{"a": 1, "b": [true, null]}', 1.0, 1.0),
        ('{"b": [true, null], "a": 1.0}', 1.0, 1.0),
        ('Here it is:\n```json\n{"a": 1, "b": [true, null]}\n```\nDone.', 1.0, 1.0),
        ('Sure! {"a": 1, "b": [true, null]} is it', 1.0, 1.0),
        ('{"a": 1, "b": [1, null]}', 0.0, 2 / 3),
        ('{"a": 1}', 0.0, 2 * 1 / 4),
        ('{"a": 1, "b": [true, null], "c": 5}', 0.0, 2 * 3 / 7),
        ("[]", 0.0, 0.0),
    ],
)
def test_json_is_compared_as_values_whole_and_by_leaves(answer: str, whole: float, parts: float) -> None:
    found = score("json", '{"a": 1, "b": [true, null]}', answer)
    assert found == {"json": whole, "json_parts": pytest.approx(parts), "json_valid": 1.0}


@pytest.mark.parametrize("answer", ["", "none", '{"a": NaN}', '{"a": 1, "a": 2}', "{" * 100_000, '{"a":' * 5000])
def test_what_is_no_json_gets_no_mark_and_nothing_raises(answer: str) -> None:
    assert score("json", '{"a": 1}', answer) == {"json": 0.0, "json_parts": 0.0, "json_valid": 0.0}


def test_json_parts_are_symmetric_and_one_only_for_equals() -> None:
    chooser = random.Random(0)
    values = [{"a": chooser.choice([1, "x", [1, 2], {"b": None}]), "c": [chooser.randrange(3)] * 2} for _ in range(30)]
    for a in values:
        for b in values:
            assert json_f1(a, b) == pytest.approx(json_f1(b, a))
            assert (json_f1(a, b) == 1.0) == (a == b)
            assert parse_json(json.dumps(a)) == a


PAIRS = [
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("the cat sat on the mat", "a cat is on the mat"),
    ("Er ging gestern nach Hause.", "Gestern ging er heim."),
    ("one two three four five", "six"),
    ("It is a guide to action", "It is a guide to action which ensures"),
    ("x", ""),
]


def test_bleu_and_chrf_are_sacrebleus_to_the_last_digit() -> None:
    import sacrebleu

    for expected, answer in PAIRS:
        assert score("bleu", expected, answer)["bleu"] * 100 == sacrebleu.sentence_bleu(answer, [expected]).score
        assert score("chrf", expected, answer)["chrf"] == sacrebleu.sentence_chrf(answer, [expected]).score / 100
    answers, references = [answer for _, answer in PAIRS], [expected for expected, _ in PAIRS]
    scored = [({}, expected, answer) for expected, answer in PAIRS]
    corpus = find_scorer("bleu").corpus
    assert corpus is not None and corpus(scored)["bleu"] == sacrebleu.corpus_bleu(answers, [references]).score / 100
    corpus = find_scorer("chrf").corpus
    assert corpus is not None and corpus(scored)["chrf"] == sacrebleu.corpus_chrf(answers, [references]).score / 100


def test_corpus_bleu_takes_a_different_number_of_references_for_each() -> None:
    import sacrebleu

    scored = [({"aliases": ["a cat is on the mat"]}, *PAIRS[1]), ({}, *PAIRS[4])]
    corpus = find_scorer("bleu").corpus
    streams = [[PAIRS[1][0], PAIRS[4][0]], ["a cat is on the mat", None]]
    assert corpus is not None
    assert corpus(scored)["bleu"] == sacrebleu.corpus_bleu([PAIRS[1][1], PAIRS[4][1]], streams).score / 100


def test_rouge_is_rouge_scores_to_the_last_digit() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    reference = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for expected, answer in PAIRS:
        wanted = {name.lower(): each.fmeasure for name, each in reference.score(expected, answer).items()}
        assert score("rouge", expected, answer) == wanted


def test_token_f1_and_normalised_match_are_squads_to_the_last_digit() -> None:
    """Rajpurkar et al.'s own vectors: their evaluation over the same pairs, written out."""
    import collections
    import re
    import string

    def normal(text: str) -> str:
        kept = "".join(char for char in text.lower() if char not in string.punctuation)
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())

    def f1(expected: str, answer: str) -> float:
        wanted, given = normal(expected).split(), normal(answer).split()
        same = sum((collections.Counter(wanted) & collections.Counter(given)).values())
        if same == 0:
            return 0.0
        precision, recall = same / len(given), same / len(wanted)
        return 2 * precision * recall / (precision + recall)

    for expected, answer in PAIRS[:-1]:
        found = score("f1", expected, answer)
        assert found["f1"] == pytest.approx(f1(expected, answer), abs=1e-15)
        assert found["normalised"] == float(normal(expected) == normal(answer))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("number", {"tolerence": 1}, "no option 'tolerence'"),
        ("exact", {"tolerance": 1}, "it has none"),
        ("number", {"tolerance": "much"}, "is a number"),
        ("number", {"tolerance": -1}, "not negative"),
        ("number", {"tolerance": True}, "is a number"),
        ("regex", {"pattern": 7}, "is a text"),
    ],
)
def test_an_option_that_is_not_one_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        find_scorer(name, options)
