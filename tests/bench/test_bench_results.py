"""Results from measurements: means, intervals and categories found again by hand, and what a result is kept under."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
import pytest
from scipy import stats

from stoker.analysis.scorers import find_scorer
from stoker.bench import questions as asking
from stoker.bench.questions import QuestionSet
from stoker.bench.results import Asked, Effort, Measured, choose, make_result
from stoker.spec.jobs import BaseRef, BenchModel, BenchSettings, ModelRef
from stoker.spec.lab import EvaluateSpec

MODEL = BenchModel(source="base", model=ModelRef(label="base", base=BaseRef(name="tiny"), weights_sha256="w"))


def question_set(path: Path, settings: BenchSettings) -> QuestionSet:
    return asking.question_set(path, settings, lambda _, header: find_scorer(header.scorer, header.options))


@pytest.fixture
def questions(tmp_path: Path) -> QuestionSet:
    path = tmp_path / "sums.jsonl"
    records = [
        {"id": f"s{n}", "prompt": f"{n} and {n}?", "answer": str(2 * n), "category": "odd" if n % 2 else "even"}
        for n in range(6)
    ]
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    path.with_suffix(".toml").write_text('scorer = "number"\n')
    return question_set(path, BenchSettings())


def asked(questions: QuestionSet, **changes: Any) -> Asked:
    given: dict[str, Any] = {"weights_sha256": "w", "conditions": {"precision": "fp32"}, **changes}
    return Asked(MODEL, given["weights_sha256"], questions, given["conditions"])


def test_scores_intervals_and_categories_are_those_of_the_items(questions: QuestionSet) -> None:
    answers = {"s0": "0", "s1": "2", "s2": "5", "s3": "6", "s4": "8"}
    measured = {id: Measured(answer=text, is_finished=True, nll=0.5, num_tokens=2) for id, text in answers.items()}
    measured["s5"] = Measured(left_out="longer than train.max_length")
    result, items = make_result(asked(questions), measured, Effort(tokens_out=9), EvaluateSpec())
    assert [item.scores.get("number") for item in items] == [1, 1, 0, 1, 1, None]
    assert (result.n, result.scores["number"], result.primary) == (5, 0.8, "number")
    exact = stats.binomtest(4, 5).proportion_ci(0.95, method="exact")
    assert (result.low, result.high) == (exact.low, exact.high)
    assert result.by_category == {"even": {"n": 3, "score": pytest.approx(2 / 3)}, "odd": {"n": 2, "score": 1.0}}
    assert result.left_out == {"longer than train.max_length": 1}
    assert items[5].left_out == "longer than train.max_length" and items[5].answer is None
    assert result.scores["nll"] == 0.5 and result.scores["perplexity"] == pytest.approx(math.exp(0.5))
    assert result.tokens_out == 9


def test_a_result_of_nothing_has_no_interval(questions: QuestionSet) -> None:
    measured = {question.id: Measured(left_out="refused") for question in questions.asked}
    result, _ = make_result(asked(questions), measured, Effort(), EvaluateSpec())
    assert (result.n, result.low, result.high, result.scores) == (0, None, None, {})
    assert result.left_out == {"refused": 6}


def test_the_confidence_of_the_settings_is_that_of_the_interval(questions: QuestionSet) -> None:
    measured = {question.id: Measured(answer=question.expected) for question in questions.asked}
    wide, _ = make_result(asked(questions), measured, Effort(), EvaluateSpec(confidence=0.99))
    narrow, _ = make_result(asked(questions), measured, Effort(), EvaluateSpec(confidence=0.8))
    assert wide.low is not None and narrow.low is not None and wide.low < narrow.low


def test_a_result_is_kept_under_all_that_its_numbers_depend_on(questions: QuestionSet, tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    keys = {
        asked(questions).key,
        asked(questions, weights_sha256="other").key,
        asked(questions, conditions={"precision": "bf16"}).key,
        *(
            asked(question_set(path, BenchSettings(**change))).key
            for change in ({"max_new_tokens": 9}, {"shots": 1}, {"limit": 2}, {"shots": 1, "seed": 1})
        ),
    }
    assert len(keys) == 7 and asked(questions).key in keys


def test_the_likeliest_option_is_chosen_as_it_is_and_by_length() -> None:
    options = ("a", "a long one")
    assert choose([-3.0, -5.0], options, "likelihood")[0] == "a"
    assert choose([-3.0, -5.0], options, "likelihood-normalised")[0] == "a long one"
    choice, share = choose([math.log(0.2), math.log(0.6)], options, "likelihood")
    assert choice == "a long one" and share == pytest.approx(0.75)
    assert choose([-1.0, -1.0], options, "likelihood") == ("a", 0.5)


def test_an_answer_in_words_names_its_option_and_corpus_scores_are_of_all(tmp_path: Path) -> None:
    path = tmp_path / "pick.jsonl"
    record = {"id": "p", "prompt": "A) tea or B) milk?", "answer": "B", "choices": ["tea", "milk"]}
    path.write_bytes(orjson.dumps(record))
    path.with_suffix(".toml").write_text('scorer = "choice"\n')
    found = Measured(answer="I would take the milk.", is_finished=True)
    _, (item,) = make_result(asked(question_set(path, BenchSettings())), {"p": found}, Effort(), EvaluateSpec())
    assert (item.choice, item.scores) == ("B", {"choice": 1.0})
    path.with_suffix(".toml").write_text('scorer = "bleu"\n')
    path.write_bytes(orjson.dumps({"id": "p", "prompt": "Say it.", "answer": "the milk of the old cow"}))
    said = Measured(answer="the milk of an old cow", is_finished=True)
    result, _ = make_result(asked(question_set(path, BenchSettings())), {"p": said}, Effort(), EvaluateSpec())
    assert result.corpus and all(0 < value < 1 for value in result.corpus.values())
