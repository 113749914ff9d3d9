"""From what was measured of each question to the result that is kept: scores, interval, categories, what is left out.

It computes nothing on a device; the same measurements give the same numbers. See mailbox/benches for the form.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from stoker.analysis.scorers import NLL
from stoker.analysis.scorers.choice import LETTERS, choices_of, chosen
from stoker.analysis.statistics import mean_interval
from stoker.bench.questions import Question, QuestionSet, options_of
from stoker.data.benchmark_header import Method
from stoker.mailbox.benches import BenchItem, BenchResult
from stoker.spec.jobs import BenchModel
from stoker.spec.lab import EvaluateSpec

_FORMAT = 1  # of results: grows when the same measurements would give other numbers


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model did with one question: with `left_out` it could not be given it."""

    answer: str | None = None
    is_finished: bool | None = None
    nll: float | None = None
    num_tokens: int | None = None
    choice: str | None = None
    confidence: float | None = None
    left_out: str | None = None


@dataclass(frozen=True, slots=True)
class Effort:
    """What a model needs: see BenchResult."""

    tokens_out: int = 0
    seconds: float = 0.0
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    disk_bytes: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Who was asked what, and under which conditions; `key` names the result's folder."""

    model: BenchModel
    weights_sha256: str
    questions: QuestionSet
    conditions: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        asked = self.questions
        return {**asked.settings.model_dump(), "method": asked.method, **self.conditions}

    @property
    def key(self) -> str:
        parts = [_FORMAT, self.weights_sha256, self.model.label, self.questions.fingerprint, self.settings]
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def make_result(
    asked: Asked, measured: Mapping[str, Measured], effort: Effort, evaluate: EvaluateSpec
) -> tuple[BenchResult, list[BenchItem]]:
    """Score what was measured (by question id)."""
    questions = asked.questions
    items = [_item(questions, question, measured.get(question.id)) for question in questions.questions]
    scored = [item for item in items if item.left_out is None]
    primary = questions.scorer.primary
    values = np.array([value for item in scored if (value := _value(item, primary)) is not None])
    low, high = interval_of(values, questions.scorer.metrics.get(primary, False), evaluate)
    result = BenchResult(
        key=asked.key,
        model=asked.model.label,
        source=asked.model.source,
        weights_sha256=asked.weights_sha256,
        benchmark=questions.name,
        benchmark_sha256=questions.sha256,
        scorer=questions.scorer.name,
        primary=primary,
        metrics=dict(questions.scorer.metrics),
        n=len(values),
        scores=_means(scored, questions.scorer.metrics),
        corpus=_corpus(questions, items),
        low=low,
        high=high,
        by_category=by_category(scored, primary),
        left_out=dict(Counter(item.left_out for item in items if item.left_out is not None)),
        settings=asked.settings,
        tokens_out=effort.tokens_out,
        seconds=round(effort.seconds, 3),
        first_token_seconds=effort.first_token_seconds,
        tokens_per_second=effort.tokens_per_second,
        disk_bytes=effort.disk_bytes,
        memory_bytes=effort.memory_bytes,
        at=time.time(),
    )
    return result, items


def interval_of(
    values: np.ndarray[Any, np.dtype[np.float64]], is_mark: bool, evaluate: EvaluateSpec
) -> tuple[float | None, float | None]:
    """Return the interval of the mean; (None, None) of nothing."""
    if not len(values):
        return None, None
    return mean_interval(values, evaluate.confidence, evaluate.resamples, is_binary=is_mark)


def by_category(scored: Sequence[BenchItem], primary: str) -> dict[str, dict[str, float]]:
    """Return n and mean score of each category; {} when no item has one."""
    found: dict[str, list[float]] = {}
    for item in scored:
        if item.category is not None and (value := _value(item, primary)) is not None:
            found.setdefault(item.category, []).append(value)
    return {name: {"n": len(values), "score": float(np.mean(values))} for name, values in sorted(found.items())}


def choose(log_probabilities: Sequence[float], options: Sequence[str], method: Method) -> tuple[str, float]:
    """Return the likeliest option and its share among them (softmax); normalised by each option's bytes.

    The first among equals, as in lm-evaluation-harness (`acc` and `acc_bytes`).
    """
    totals = np.array(log_probabilities, dtype=np.float64)
    if method == "likelihood-normalised":
        totals = totals / np.array([len(option.encode()) for option in options])
    weights = np.exp(totals - totals.max())
    place = int(np.argmax(totals))
    return options[place], float(weights[place] / weights.sum())


def _item(questions: QuestionSet, question: Question, found: Measured | None) -> BenchItem:
    left_out = question.left_out or (found.left_out if found is not None else None)
    common: dict[str, Any] = {
        "id": question.id, "category": question.category, "prompt": question.prompt(), "expected": question.expected,
        "meta": dict(question.meta),
    }  # fmt: skip
    if left_out is not None:
        return BenchItem(**common, left_out=left_out)
    assert found is not None, "every question that is asked was measured"
    return BenchItem(
        **common, answer=found.answer, finished=found.is_finished, scores=_scores(questions, question, found),
        nll=found.nll, tokens=found.num_tokens, choice=_choice(question, found), confidence=found.confidence,
    )  # fmt: skip


def _scores(questions: QuestionSet, question: Question, found: Measured) -> dict[str, float]:
    if found.choice is not None:  # by its letter, which no option's text can be taken for
        given = LETTERS[question.options.index(found.choice)]
        return questions.scorer.score(question.meta, question.expected, given)
    if found.answer is None:
        return {}
    return questions.scorer.score(question.meta, question.expected, found.answer)


def _choice(question: Question, found: Measured) -> str | None:
    """Return the option that was chosen, or that the answer names, in the words of the expected answer."""
    if found.choice is not None or found.answer is None:
        return found.choice
    options = options_of(question.meta, question.expected)
    place = chosen(choices_of(question.meta), found.answer) if options else None
    return None if place is None else options[place]


def _corpus(questions: QuestionSet, items: Sequence[BenchItem]) -> dict[str, float]:
    told = [
        (item.meta, item.expected, item.answer) for item in items if item.left_out is None and item.answer is not None
    ]
    return questions.scorer.corpus(told) if questions.scorer.corpus is not None and told else {}


def _value(item: BenchItem, metric: str) -> float | None:
    return item.nll if metric == NLL else item.scores.get(metric)


def _means(scored: Sequence[BenchItem], metrics: Mapping[str, bool]) -> dict[str, float]:
    means = {}
    for metric in metrics:
        if values := [item.scores[metric] for item in scored if metric in item.scores]:
            means[metric] = float(np.mean(values))
    if nlls := [item.nll for item in scored if item.nll is not None]:
        means[NLL] = float(np.mean(nlls))
        means["perplexity"] = math.exp(min(means[NLL], 700.0))
    return means
