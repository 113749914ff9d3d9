"""One model on one benchmark: NLL of what was expected, answers or the likeliest options, confidence, speed, size.

Everything lands in the answer book as it is computed, so a killed bench goes on where it was, and a question without
examples shares what an evaluation of the same weights has answered.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stoker.bench.questions import Question, QuestionSet
from stoker.bench.results import Effort, Measured, choose
from stoker.data.rows import Row
from stoker.errors import DataError
from stoker.evaluate.answers import AnswerBook, Likelihood
from stoker.evaluate.measuring import Wanted, measure
from stoker.evaluate.progress import Beat
from stoker.model.encoded import Encoded, Ids
from stoker.model.generation import generate
from stoker.model.likelihood import mean_nll_that_fits, token_counts
from stoker.model.load import Loaded
from stoker.model.tokenizing import encode_row_prompt, encode_rows
from stoker.spec.jobs import ModelRef
from stoker.spec.lab import EvaluateSpec

_SPEED_PROMPTS = 3
_SPEED_TOKENS = 48
_BATCH_TOKENS = 8192


class Loader:
    """Loads the model when it is first needed, and keeps the time that took apart."""

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load = load
        self.seconds = 0.0

    def __call__(self) -> Loaded:
        started = time.monotonic()
        loaded = self._load()
        self.seconds += time.monotonic() - started
        return loaded


@dataclass(frozen=True, slots=True)
class Speed:
    """One warm stream: to the first token (median), and from there on."""

    first_token_seconds: float
    tokens_per_second: float | None


def wanted_rows(questions: QuestionSet) -> list[Wanted]:
    """Return every row whose likelihood is needed: each question's with its expected answer, and with each option."""
    wanted = [Wanted(question.row, questions.generates) for question in questions.asked]
    for question in questions.asked:
        wanted += [Wanted(row, False) for row in _option_rows(question)]
    return list({each.row.id: each for each in reversed(wanted)}.values())[::-1]


def bench_questions(
    questions: QuestionSet, book: AnswerBook, load: Loader, evaluate: EvaluateSpec, max_length: int, beat: Beat
) -> tuple[dict[str, Measured], Effort]:
    """Answer what the book lacks and return what came of each question that is asked, by its id."""
    started, loading = time.monotonic(), load.seconds
    measure(book, wanted_rows(questions), load, evaluate, max_length, beat)
    given = _answered_rows(questions, book)
    _measure_confidence(book, given, load, max_length, beat)
    seconds = time.monotonic() - started - (load.seconds - loading)
    measured = {each.id: _measured(questions, each, book, max_length) for each in questions.asked}
    known = [book.likelihood(each.key) for each in given]
    tokens = sum(found.num_tokens for found in known if found is not None)
    return measured, Effort(tokens_out=tokens, seconds=seconds)


def measure_speed(loaded: Loaded, prompts: Sequence[Ids]) -> Speed | None:
    """Time one stream on each of a few prompts, after a first one that warms up; None without prompts."""
    if not prompts:
        return None
    generate(loaded, prompts[:1], 2, 1)
    first: list[float] = []
    tokens, rest = 0, 0.0
    for prompt in prompts:
        begun = time.perf_counter()
        generate(loaded, [prompt], 1, 1)
        first.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        (answer,) = generate(loaded, [prompt], _SPEED_TOKENS, 1)
        if len(answer.token_ids) > 1:
            tokens += len(answer.token_ids) - 1
            rest += max(time.perf_counter() - begun - first[-1], 1e-9)
    return Speed(statistics.median(first), tokens / rest if tokens else None)


def typical_prompts(loaded: Loaded, asked: Sequence[Question]) -> list[Ids]:
    """Return a few prompts of middling length; those the template refuses are passed over."""
    ordered = sorted(asked, key=lambda question: (len(question.prompt()), question.id))
    middle = max(0, (len(ordered) - _SPEED_PROMPTS) // 2)
    prompts = []
    for question in ordered[middle : middle + _SPEED_PROMPTS]:
        try:
            prompts.append(encode_row_prompt(question.row, loaded.tokenizer))
        except DataError:
            continue
    return prompts


def size_on_disk(ref: ModelRef, base_folder: Path) -> int:
    """Return the bytes of all weight files that answering takes, an adapter's base among them."""
    folders = [base_folder] if ref.folder is None else [ref.folder]
    if ref.folder is not None and ref.method != "full":
        folders.append(base_folder)
    return sum(path.stat().st_size for folder in folders for path in folder.glob("*.safetensors"))


def size_in_memory(loaded: Loaded) -> int:
    """Return the bytes of the loaded weights, tied ones once."""
    tensors = {tensor.data_ptr(): tensor for tensor in loaded.model.parameters()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


@dataclass(frozen=True, slots=True)
class _Given:
    """A question with the answer that was given, and the name its likelihood is kept under."""

    row: Row
    is_finished: bool

    @property
    def key(self) -> str:
        return self.row.id if self.is_finished else f"{self.row.id}:open"


def _answered_rows(questions: QuestionSet, book: AnswerBook) -> list[_Given]:
    if not questions.generates:
        return []
    pairs = [(question, book.answer(question.row.id)) for question in questions.asked]
    return [_Given(question.with_answer(found.text), found.is_finished) for question, found in pairs if found]


def _measure_confidence(book: AnswerBook, given: Sequence[_Given], load: Loader, max_length: int, beat: Beat) -> None:
    """Keep how likely the given answers were, of an unfinished one without the stop token that it never had."""
    lacking = {each.key: each for each in given if book.likelihood(each.key) is None}
    if not lacking:
        return
    loaded = load()
    refused: dict[str, str] = {}
    encoded = encode_rows([each.row for each in lacking.values()], loaded.tokenizer, refused)
    sequences: dict[str, Encoded] = {}
    for each, found in zip(lacking.values(), encoded, strict=True):
        if len(found) != 1 or len(found[0]) > max_length:
            continue
        sequence = found[0] if each.is_finished else _without_stop(found[0])
        if sequence.trained.any():
            sequences[each.key] = sequence
    nlls = mean_nll_that_fits(loaded, list(sequences.values()), _BATCH_TOKENS, lambda done, total: beat(0))
    counts = token_counts(list(sequences.values()))
    for (key, sequence), nll, count in zip(sequences.items(), nlls.tolist(), counts.tolist(), strict=True):
        if math.isfinite(nll):
            book.add_likelihood(key, Likelihood(nll, count, len(sequence)))


def _without_stop(sequence: Encoded) -> Encoded:
    trained = sequence.trained.copy()
    places = np.flatnonzero(trained)
    trained[places[-1:]] = False
    return Encoded(sequence.ids, trained, sequence.row_id, sequence.line)


def _measured(questions: QuestionSet, question: Question, book: AnswerBook, max_length: int) -> Measured:
    options = _option_rows(question)
    for row in (question.row, *options):
        if (reason := book.unfit_reason(row.id, max_length)) is not None:
            return Measured(left_out=reason)
    likelihood = book.likelihood(question.row.id)
    assert likelihood is not None, "every question that fits was measured"
    if options:
        known = [book.likelihood(row.id) for row in options]
        totals = [-each.nll * each.num_tokens for each in known if each is not None]
        choice, share = choose(totals, question.options, questions.method)
        return Measured(nll=likelihood.nll, num_tokens=likelihood.num_tokens, choice=choice, confidence=share)
    answer = book.answer(question.row.id) if questions.generates else None
    if answer is None:
        return Measured(nll=likelihood.nll, num_tokens=likelihood.num_tokens)
    given = book.likelihood(_Given(question.with_answer(answer.text), answer.is_finished).key)
    return Measured(
        answer=answer.text, is_finished=answer.is_finished, nll=likelihood.nll, num_tokens=likelihood.num_tokens,
        confidence=None if given is None else math.exp(-given.nll),
    )  # fmt: skip


def _option_rows(question: Question) -> list[Row]:
    return [question.with_answer(option) for option in question.options]
