"""What a benchmark asks of one model: the items that count, in the words that are sent, and why others do not.

The same file, settings and trained datasets give the same questions on every machine; their fingerprint is part of
what a result is kept under. Nothing is left out silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stoker.analysis.scorers import Scorer, is_scorable
from stoker.analysis.scorers.choice import LETTERS, choices_of, expected_choice
from stoker.bench.few_shot import draw, examples_of, with_examples
from stoker.data.benchmark_header import Header, Method, header_path
from stoker.data.benchmarks import Benchmark, Item, read_benchmark
from stoker.data.rows import Row
from stoker.data.sealing.overlap import near_trained
from stoker.errors import DataError
from stoker.spec.jobs import BenchSettings, DatasetRef

NEAR_TRAINED = "near a trained row"
NOT_SCORABLE = "own answer gets no full marks"
Scorers = Callable[[Path, Header], Scorer]
"""From a benchmark and its header to its scorer; see bench/scoring."""


@dataclass(frozen=True, slots=True)
class Question:
    """One item as it is asked. `row` holds the examples, the prompt and the expected answer.

    `options` are what may be chosen, in the words that the expected answer is in: the texts or their letters. They are
    there when the benchmark's answers are chosen by likelihood. With `left_out` it is not asked.
    """

    id: str
    row: Row
    expected: str
    category: str | None
    meta: Mapping[str, Any]
    options: tuple[str, ...] = ()
    left_out: str | None = None

    def prompt(self) -> str:
        """Return the last message asked."""
        messages = self.row.prompt_messages()
        return str(messages[-1].get("content") or "") if messages else ""

    def with_answer(self, text: str) -> Row:
        """Return the conversation with another answer in place of the expected one."""
        answer = {"role": "assistant", "content": text}
        return Row.from_content(self.row.line, [*self.row.prompt_messages(), answer], tools=self.row.tools)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """A benchmark's questions in file order; `fingerprint` is of all that is asked and of how it is scored."""

    name: str
    sha256: str
    scorer: Scorer
    method: Method
    questions: tuple[Question, ...]
    fingerprint: str
    settings: BenchSettings

    @property
    def asked(self) -> list[Question]:
        return [question for question in self.questions if question.left_out is None]

    @property
    def generates(self) -> bool:
        return self.method == "generation" and self.scorer.needs_answer


def question_set(
    path: Path, settings: BenchSettings, scorers: Scorers, trained: Sequence[DatasetRef] = ()
) -> QuestionSet:
    """Return what the benchmark at `path` asks of a model that was trained on these datasets."""
    benchmark = read_benchmark(path)
    if not benchmark.items:
        raise DataError(f"benchmark {path.name} has no items", "", "add lines with prompt and answer")
    scorer = scorers(path, benchmark.header)
    drawn = draw(benchmark, settings, examples_of(path, benchmark) if settings.shots else ())
    near = near_trained([item.row for item in drawn.tested], [dataset.folder for dataset in trained])
    shown = [item for item in benchmark.items if item.id in drawn.left_out and item not in drawn.tested]
    questions = [
        _question(benchmark, item, drawn.examples, _reason(scorer, item, near, drawn.left_out))
        for item in sorted([*drawn.tested, *shown], key=lambda item: item.row.line)
    ]
    limit = settings.limit if settings.limit and settings.limit < len(benchmark.items) else None
    seed = settings.seed if limit or settings.shots else 0
    longest = min(settings.max_new_tokens, benchmark.header.max_new_tokens or settings.max_new_tokens)
    return QuestionSet(
        path.stem, benchmark.sha256, scorer, benchmark.header.method, tuple(questions),
        _fingerprint(path, benchmark, questions), settings.model_copy(update={"limit": limit, "seed": seed, "max_new_tokens": longest}),
    )  # fmt: skip


def options_of(meta: Mapping[str, Any], expected: str) -> tuple[str, ...]:
    """Return an item's options in the words that its expected answer is in; () when it has none."""
    choices = choices_of(meta)
    is_text = any(choice.strip() == expected.strip() for choice in choices)
    return tuple(choices) if is_text else tuple(LETTERS[: len(choices)])


def _fingerprint(path: Path, benchmark: Benchmark, questions: Sequence[Question]) -> str:
    """Hash all that is asked, and all that says how it is scored: the header and a scorer's own file."""
    asked = [(each.id, each.row.id, each.expected, each.category, each.options, each.left_out) for each in questions]
    whole = hashlib.sha256(orjson.dumps([benchmark.sha256, benchmark.header.model_dump(mode="json"), asked]))
    for place in (header_path(path), path.parent / str(benchmark.header.options.get("file", path.name))):
        if place != path and place.is_file():
            whole.update(place.read_bytes())
    return whole.hexdigest()


def _question(benchmark: Benchmark, item: Item, examples: Sequence[Item], left_out: str | None) -> Question:
    row = item.row if left_out else with_examples(item.row, examples)
    options: tuple[str, ...] = ()
    if benchmark.header.method != "generation":
        options = options_of(item.meta, item.answer)
        if expected_choice(choices_of(item.meta), item.answer) is None:
            left_out = left_out or NOT_SCORABLE
    return Question(item.id, row, item.answer, item.category, item.meta, options, left_out)


def _reason(scorer: Scorer, item: Item, near: Mapping[str, str], left_out: Mapping[str, str]) -> str | None:
    if item.id in left_out:
        return left_out[item.id]
    if item.row.id in near:
        return NEAR_TRAINED
    return None if is_scorable(scorer, item.meta, item.answer) else NOT_SCORABLE
