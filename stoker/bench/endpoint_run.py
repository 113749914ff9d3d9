"""Benchmarks asked of an endpoint: several questions at once, each answer kept as it comes. No model is loaded."""

from __future__ import annotations

import functools
import hashlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from stoker.bench.endpoint import Endpoint, EndpointError, NotMeasurable, Refused, Reply
from stoker.bench.questions import Question, QuestionSet, question_set
from stoker.bench.results import Asked, Effort, Measured, choose, make_result
from stoker.bench.scorers import job_scorers
from stoker.mailbox.answers import Answer, AnswerBook, Likelihood
from stoker.mailbox.benches import RESULT, write_bench
from stoker.spec.jobs import BenchJob, BenchModel, EndpointRef

_AT_ONCE = 8
_SPEED_PROMPTS = 3
_SPEED_TOKENS = 48
_CONDITIONS = "endpoint-1"
_SENT = ("role", "content", "name", "tool_calls", "tool_call_id")

Tell = Callable[[str, int, int], None]
TellSkipped = Callable[[str], None]


def bench_endpoint(
    job: BenchJob, model: BenchModel, tell: Tell, tell_skipped: TellSkipped
) -> Iterator[tuple[str, str, bool]]:
    """Yield (benchmark, key, was there before) of each result; `tell` hears how many questions are done of how many.

    One of several benchmarks that this endpoint can't be asked is skipped, and `tell_skipped` hears why.
    """
    assert model.endpoint is not None
    identity = identity_of(model.endpoint)
    endpoint, scorers = Endpoint(model.endpoint, job.root), job_scorers(job)
    try:
        for path in job.benchmarks:
            asked = Asked(model, identity, question_set(path, job.settings, scorers), {"conditions": _CONDITIONS})
            name = asked.questions.name
            is_kept = (job.output / asked.key / RESULT).is_file() and not job.again
            try:
                if not is_kept:
                    _measure(job, asked, endpoint, functools.partial(tell, name))
            except NotMeasurable as problem:
                if len(job.benchmarks) == 1:
                    raise
                tell_skipped(f"{name} is skipped: {problem}")
                continue
            yield name, asked.key, is_kept
    finally:
        endpoint.close()


def identity_of(endpoint: EndpointRef) -> str:
    """Return what stands for the weights of a model that can't be seen: the hash of its address and name."""
    return hashlib.sha256(f"endpoint {endpoint.label}".encode()).hexdigest()


def plain_context(question: Question) -> str:
    """Return the prompt as plain text, a turn a paragraph: how a likelihood is asked where no template can be applied."""
    turns = [str(turn.get("content") or "") for turn in question.row.prompt_messages()]
    return "\n\n".join(turns) + "\n"


def _measure(job: BenchJob, asked: Asked, endpoint: Endpoint, tell: Callable[[int, int], None]) -> None:
    questions, max_tokens = asked.questions, asked.questions.settings.max_new_tokens
    book = AnswerBook(job.answers, asked.weights_sha256, _CONDITIONS, max_tokens)
    if job.again:
        book = _emptied(book, job.answers, asked.weights_sha256, max_tokens)
    started, given = time.monotonic(), _Given()
    with book:
        if questions.generates:
            _answer(questions, book, endpoint, max_tokens, given, tell)
        elif questions.method != "generation":
            _score_options(questions, book, endpoint, given, tell)
        else:
            raise NotMeasurable(
                f"{asked.model.label} can't be measured on {questions.name}",
                f"its scorer {questions.scorer.name!r} measures likelihood alone, which endpoints tell of options only",
                "choose another benchmark with --benchmark",
            )
        seconds = time.monotonic() - started
        measured = {each.id: _measured(questions, each, book, given) for each in questions.asked}
    if questions.asked and given.refused.keys() >= {each.id for each in questions.asked}:
        raise EndpointError(
            f"{asked.model.label} refuses every question of {questions.name}: {next(iter(given.refused.values()))}",
            "", "see what it says",
        )  # fmt: skip
    effort = _effort(questions, endpoint, given.tokens_out, seconds)
    write_bench(job.output, *make_result(asked, measured, effort, job.evaluate))


class _Given:
    """What came back beside answers: refusals by question id, and tokens counted."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.tokens_out = 0


def _answer(
    questions: QuestionSet, book: AnswerBook, endpoint: Endpoint, max_tokens: int, given: _Given,
    tell: Callable[[int, int], None],
) -> None:  # fmt: skip
    def ask(question: Question) -> Reply:
        return endpoint.chat([_sent(turn) for turn in question.row.prompt_messages()], max_tokens)

    def keep(question: Question, reply: Reply) -> None:
        book.add_answer(question.row.id, Answer(reply.text, reply.is_finished))
        given.tokens_out += reply.num_tokens or 0
        if reply.nll is not None and math.isfinite(reply.nll):
            book.add_likelihood(_confidence_key(question), Likelihood(reply.nll, reply.num_tokens or 0, 0))

    lacking = [each for each in questions.asked if book.answer(each.row.id) is None]
    _ask_all(lacking, ask, keep, given, tell)


def _score_options(
    questions: QuestionSet, book: AnswerBook, endpoint: Endpoint, given: _Given, tell: Callable[[int, int], None]
) -> None:
    def ask(question: Question) -> list[Any]:
        context = plain_context(question)
        return [endpoint.score(context, option) for option in question.options]

    def keep(question: Question, scored: list[Any]) -> None:
        for option, one in zip(question.options, scored, strict=True):
            found = Likelihood(-one.log_probability / one.num_tokens, one.num_tokens, 0)
            book.add_likelihood(_option_key(question, option), found)

    lacking = [
        each
        for each in questions.asked
        if any(book.likelihood(_option_key(each, option)) is None for option in each.options)
    ]
    _ask_all(lacking, ask, keep, given, tell)


def _ask_all(
    questions: Sequence[Question], ask: Callable[[Question], Any], keep: Callable[[Question, Any], None], given: _Given,
    tell: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Ask the first alone, since what is wrong with it is wrong with all; then several at once.

    When one fails, those under way are waited for and kept, no other is asked, and the failure is raised.
    """
    tell(0, len(questions))
    executor = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ask")
    done = 0
    failure: EndpointError | None = None
    try:
        for part in (questions[:1], questions[1:]):
            asked: dict[Future[Any], Question] = {executor.submit(ask, question): question for question in part}
            for future in as_completed(asked):
                question = asked[future]
                try:
                    keep(question, future.result())
                except Refused as refusal:
                    given.refused[question.id] = f"refused by the endpoint: {refusal.what}"
                except EndpointError as error:
                    failure = failure or error
                    executor.shutdown(wait=False, cancel_futures=True)
                    continue
                except CancelledError:
                    continue
                done += 1
                tell(done, len(questions))
            if failure is not None:
                raise failure
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _measured(questions: QuestionSet, question: Question, book: AnswerBook, given: _Given) -> Measured:
    if question.id in given.refused:
        return Measured(left_out=given.refused[question.id])
    if question.options:
        found = {option: book.likelihood(_option_key(question, option)) for option in question.options}
        totals = [-each.nll * each.num_tokens for each in found.values() if each is not None]
        choice, share = choose(totals, question.options, questions.method)
        own = found.get(question.expected)
        return Measured(
            choice=choice, confidence=share, nll=own.nll if own else None, num_tokens=own.num_tokens if own else None
        )
    answer, sure = book.answer(question.row.id), book.likelihood(_confidence_key(question))
    assert answer is not None, "every question that was not refused is answered"
    return Measured(
        answer=answer.text, is_finished=answer.is_finished, confidence=math.exp(-sure.nll) if sure else None
    )


def _effort(questions: QuestionSet, endpoint: Endpoint, tokens_out: int, seconds: float) -> Effort:
    typical = sorted(questions.asked, key=lambda question: (len(question.prompt()), question.id))
    middle = max(0, (len(typical) - _SPEED_PROMPTS) // 2)
    told = []
    for question in typical[middle : middle + _SPEED_PROMPTS] if questions.generates else ():
        messages = [_sent(turn) for turn in question.row.prompt_messages()]
        if (speed := endpoint.speed(messages, _SPEED_TOKENS)) is not None:
            told.append(speed)
    rates = [rate for _, rate in told if rate is not None]
    return Effort(
        tokens_out=tokens_out,
        seconds=seconds,
        first_token_seconds=statistics.median(first for first, _ in told) if told else None,
        tokens_per_second=statistics.median(rates) if rates else None,
    )


def _sent(turn: dict[str, Any]) -> dict[str, Any]:
    return {name: turn[name] for name in _SENT if name in turn}


def _confidence_key(question: Question) -> str:
    return f"{question.row.id}:answer"


def _option_key(question: Question, option: str) -> str:
    return f"{question.with_answer(option).id}:plain"


def _emptied(book: AnswerBook, folder: Path, identity: str, max_tokens: int) -> AnswerBook:
    """Forget an endpoint's answers: behind the same address there may be another model now."""
    book.path.unlink(missing_ok=True)
    return AnswerBook(folder, identity, _CONDITIONS, max_tokens)
