"""The task that runs benchmarks: each model on each benchmark, a result published as soon as it is whole.

What has a result under the same weights, questions, settings and conditions is not asked again.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.bench.endpoint import Endpoint
from stoker.bench.endpoint_run import identity_of
from stoker.bench.questions import question_set
from stoker.bench.results import Asked, Effort, make_result
from stoker.bench.scorers import job_scorers
from stoker.bench.suite_results import suite_results
from stoker.durable import sha256_file
from stoker.errors import WorkerExit
from stoker.evaluate.answers import AnswerBook, conditions_of
from stoker.evaluate.bench import (
    Loader,
    bench_questions,
    measure_speed,
    size_in_memory,
    size_on_disk,
    typical_prompts,
    wanted_rows,
)
from stoker.evaluate.measuring import missing, resolve_max_length
from stoker.evaluate.progress import Paused, Progress
from stoker.evaluate.suites import Kept, check_suite, endpoint_model, harness_version, local_model, run_suite
from stoker.mailbox.benches import RESULT, write_bench
from stoker.mailbox.messages import Outbox
from stoker.model.base import base_sha256
from stoker.model.device import Hardware, resolve_hardware
from stoker.model.encoded import Ids
from stoker.model.load import Loaded
from stoker.model.resident import Resident
from stoker.spec.jobs import BenchJob, BenchModel, ModelRef, Suite
from stoker.worker.asking import base_folder_of

_ADAPTER = "adapter_config.json"


def run_bench(job: BenchJob, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Answer every benchmark and suite with every model; each result is told in a `bench` message."""
    progress = Progress(folder, outbox)
    for suite in job.suites:
        check_suite(suite)
    try:
        for model in job.models:
            for key, is_kept in _results(job, model, resident, outbox, progress):
                outbox.send("bench", state="done", model=model.label, key=key, is_kept=is_kept)
    except Paused:
        return WorkerExit.PAUSED
    return WorkerExit.DONE


def _results(
    job: BenchJob, model: BenchModel, resident: Resident, outbox: Outbox, progress: Progress
) -> Iterator[tuple[str, bool]]:
    """Yield the key of each of a model's results, and whether it was there before."""
    if model.endpoint is not None:
        yield from _suites_at_endpoint(job, model, outbox, progress)
        return
    outbox.send("bench", state="loading", model=model.label)
    outbox.phase("load")
    subject = _Subject.of(job, model)
    load = Loader(functools.partial(resident.get, subject.ref, subject.base_folder, subject.hardware))
    for path in job.benchmarks:
        questions = question_set(path, job.settings, job_scorers(job), model.trained)
        outbox.send("bench", state="begun", model=model.label, benchmark=questions.name)
        asked = Asked(model, subject.weights_sha256, questions, subject.conditions)
        is_kept = (job.output / asked.key / RESULT).is_file() and not job.again
        if not is_kept:
            _measure(job, subject, asked, load, progress)
        yield asked.key, is_kept
    for suite in job.suites:
        outbox.send("bench", state="begun", model=model.label, benchmark=suite.task)
        yield from _run_suite(job, subject, model, suite, load, progress)


def _run_suite(
    job: BenchJob, subject: _Subject, model: BenchModel, suite: Suite, load: Loader, progress: Progress
) -> Iterator[tuple[str, bool]]:
    loaded = load()
    conditions = {**subject.conditions, "lm_eval": harness_version()}
    kept = Kept(job.answers, subject.weights_sha256, subject.conditions["conditions"])
    started = time.monotonic()
    try:
        asked = local_model(loaded, job.evaluate.batch_size, kept, progress)
        found = run_suite(suite, job.settings, asked)
    finally:
        kept.close()
    effort = Effort(seconds=time.monotonic() - started)
    samples = next(iter(found["samples"].values()))
    prompts = [loaded.tokenizer(str(one["arguments"][0][0]))["input_ids"] for one in samples[:3]]
    effort = _with_speed(subject, loaded, prompts, effort)
    yield from _write_suite(job, model, subject.weights_sha256, found, conditions, effort)


def _suites_at_endpoint(
    job: BenchJob, model: BenchModel, outbox: Outbox, progress: Progress
) -> Iterator[tuple[str, bool]]:
    assert model.endpoint is not None
    identity = identity_of(model.endpoint)
    endpoint = Endpoint(model.endpoint, job.root)
    kept = Kept(job.answers, identity, "endpoint")
    if job.again:
        kept.forget()
    try:
        for suite in job.suites:
            outbox.send("bench", state="begun", model=model.label, benchmark=suite.task)
            started = time.monotonic()
            found = run_suite(suite, job.settings, endpoint_model(endpoint, kept, progress))
            effort = Effort(seconds=time.monotonic() - started)
            conditions = {"conditions": "endpoint", "lm_eval": harness_version()}
            yield from _write_suite(job, model, identity, found, conditions, effort)
    finally:
        kept.close()
        endpoint.close()


def _write_suite(
    job: BenchJob, model: BenchModel, weights_sha256: str, found: dict[str, Any], conditions: dict[str, Any],
    effort: Effort,
) -> Iterator[tuple[str, bool]]:  # fmt: skip
    for result, items in suite_results(found, model, weights_sha256, job.settings, conditions, effort, job.evaluate):
        is_kept = (job.output / result.key / RESULT).is_file() and not job.again
        if not is_kept:
            write_bench(job.output, result, items)
        yield result.key, is_kept


def _measure(job: BenchJob, subject: _Subject, asked: Asked, load: Loader, progress: Progress) -> None:
    max_length, questions = subject.max_length, asked.questions
    evaluate = job.evaluate.model_copy(update={"max_new_tokens": questions.settings.max_new_tokens})
    book = AnswerBook(job.answers, subject.weights_sha256, subject.conditions["conditions"], evaluate.max_new_tokens)
    with book:
        progress.begin(sum(len(rows) for rows in missing(book, wanted_rows(questions), max_length)))
        measured, effort = bench_questions(questions, book, load, evaluate, max_length, progress.beat)
    loaded = load()
    effort = _with_speed(subject, loaded, typical_prompts(loaded, questions.asked), effort)
    write_bench(job.output, *make_result(asked, measured, effort, evaluate))


def _with_speed(subject: _Subject, loaded: Loaded, prompts: Sequence[Ids], effort: Effort) -> Effort:
    speed = measure_speed(loaded, prompts)
    return Effort(
        tokens_out=effort.tokens_out,
        seconds=effort.seconds,
        first_token_seconds=None if speed is None else speed.first_token_seconds,
        tokens_per_second=None if speed is None else speed.tokens_per_second,
        disk_bytes=size_on_disk(subject.ref, subject.base_folder),
        memory_bytes=size_in_memory(loaded),
    )


@dataclass(frozen=True, slots=True)
class _Subject:
    """A model with all that its answers depend on. `weights_sha256` names its answer book, as in an evaluation."""

    ref: ModelRef
    base_folder: Path
    hardware: Hardware
    weights_sha256: str
    conditions: dict[str, Any]
    max_length: int

    @classmethod
    def of(cls, job: BenchJob, model: BenchModel) -> _Subject:
        assert model.model is not None
        ref = model.model
        base_folder, hardware = base_folder_of(ref), resolve_hardware(job.train)
        weights_sha256 = base_sha256(base_folder) if ref.folder is None else ref.weights_sha256
        conditions = conditions_of(base_folder, hardware)
        if model.source == "adapter":  # a version's base and adapter settings are fixed by the version
            assert ref.folder is not None
            conditions += f"-{base_sha256(base_folder)[:16]}-{sha256_file(ref.folder / _ADAPTER)[:16]}"
        max_length = resolve_max_length(base_folder, job.train)
        return cls(
            ref.model_copy(update={"weights_sha256": weights_sha256}), base_folder, hardware, weights_sha256,
            {
                "conditions": conditions, "precision": hardware.precision, "device": hardware.device.type,
                "max_length": max_length,
            },
            max_length,
        )  # fmt: skip
