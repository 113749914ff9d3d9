"""What a benchmark asks of one model: the items that count, in the words that are sent, and why others do not.

The same file, settings and trained datasets give the same questions on every machine; their fingerprint is part of
what a result is kept under. Nothing is left out silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from stoker.analysis.scorers import Scorer, find_scorer, is_scorable
from stoker.bench.few_shot import draw, with_examples
from stoker.data.benchmarks import Benchmark, Item, read_benchmark
from stoker.data.rows import Row
from stoker.data.sealing.overlap import near_trained
from stoker.errors import DataError
from stoker.spec.jobs import BenchSettings, DatasetRef

NEAR_TRAINED = "near a trained row"
NOT_SCORABLE = "own answer gets no full marks"
CHOICES = "choices"
Method = Literal["generation", "likelihood", "likelihood-normalised"]


@dataclass(frozen=True, slots=True)
class Question:
    """One item as it is asked. `row` holds the examples, the prompt and the expected answer; `options` what may be chosen.

    With `left_out` it is not asked.
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


def question_set(path: Path, settings: BenchSettings, trained: Sequence[DatasetRef] = ()) -> QuestionSet:
    """Return what the benchmark at `path` asks of a model that was trained on these datasets."""
    benchmark = read_benchmark(path)
    if not benchmark.items:
        raise DataError(f"benchmark {path.name} has no items", "", "add lines with prompt and answer")
    scorer = find_scorer(benchmark.scorer)
    drawn = draw(benchmark, settings)
    near = near_trained([item.row for item in drawn.tested], [dataset.folder for dataset in trained])
    shown = [item for item in benchmark.items if item.id in drawn.left_out and item not in drawn.tested]
    questions = [
        _question(benchmark, scorer, item, drawn.examples, _reason(scorer, item, near, drawn.left_out))
        for item in sorted([*drawn.tested, *shown], key=lambda item: item.row.line)
    ]
    header = path.with_suffix(".toml")
    asked = [(each.id, each.row.id, each.expected, each.category, each.options, each.left_out) for each in questions]
    whole = orjson.dumps([benchmark.sha256, benchmark.scorer, benchmark.method, asked])
    whole += header.read_bytes() if header.is_file() else b""
    limit = settings.limit if settings.limit and settings.limit < len(benchmark.items) else None
    seed = settings.seed if limit or settings.shots else 0
    return QuestionSet(
        path.stem, benchmark.sha256, scorer, benchmark.method, tuple(questions), hashlib.sha256(whole).hexdigest(),
        settings.model_copy(update={"limit": limit, "seed": seed}),
    )  # fmt: skip


def _question(
    benchmark: Benchmark, scorer: Scorer, item: Item, examples: Sequence[Item], left_out: str | None
) -> Question:
    row = item.row if left_out else with_examples(item.row, examples)
    options: tuple[str, ...] = ()
    if benchmark.method != "generation":
        options = _options(benchmark, item)
    return Question(item.id, row, item.answer, item.category, item.meta, options, left_out)


def _options(benchmark: Benchmark, item: Item) -> tuple[str, ...]:
    choices = item.meta.get(CHOICES)
    options = tuple(choices.values()) if isinstance(choices, dict) else tuple(choices or ())
    if len(options) < 2 or not all(isinstance(option, str) and option.strip() for option in options):
        raise DataError(
            f"benchmark {benchmark.name}, item {item.id}: no options to choose from",
            f'method "{benchmark.method}" takes the likeliest of an item\'s options',
            f'give it "meta": {{"{CHOICES}": ["first", "second"]}}',
        )
    return options


def _reason(scorer: Scorer, item: Item, near: Mapping[str, str], left_out: Mapping[str, str]) -> str | None:
    if item.id in left_out:
        return left_out[item.id]
    if item.row.id in near:
        return NEAR_TRAINED
    return None if is_scorable(scorer, item.meta, item.answer) else NOT_SCORABLE
