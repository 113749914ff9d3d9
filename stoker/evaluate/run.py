"""The evaluation task: measure the candidate, its parent and the base on the same items, and reach the verdict.

What a model has answered before is not computed again, and a kill loses a batch at most. The worker that calls
`run_evaluation` reports the end of the task and turns errors into exits.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

from stoker.bench.scorers import job_scorers
from stoker.durable import write_json
from stoker.errors import SettingError, WorkerExit
from stoker.evaluate.answers import AnswerBook, conditions_of
from stoker.evaluate.forgetting import split_basics
from stoker.evaluate.items import EvalSet, load_sets
from stoker.evaluate.measuring import Wanted, measure, missing, resolve_max_length
from stoker.evaluate.progress import Paused, Progress
from stoker.evaluate.results import SubjectResults, conclude, labels, score_subject
from stoker.mailbox.messages import Outbox
from stoker.model.device import Hardware, resolve_hardware
from stoker.model.resident import Resident
from stoker.spec.jobs import EvaluateJob, ModelRef

RESULTS = "results.json"


def run_evaluation(job: EvaluateJob, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    """Measure, compare, decide; send `result` and publish results.json. PAUSED when asked to stop in between."""
    started = time.monotonic()
    progress = Progress(folder, outbox)
    sets = load_sets(job.sets, job.trained, job.evaluate, job_scorers(job))
    for each in sets:
        _tell_left_out(each, outbox)
    readable = [each for each in sets if not each.problem]
    try:
        subjects, basics_seconds = _measure_all(job, sets, folder, resident, progress)
    except Paused:
        return WorkerExit.PAUSED
    for each in readable:
        _tell_problem(each, outbox)
    outbox.phase("verdict")
    result = {**conclude(job, sets, subjects, basics_seconds), "seconds": round(time.monotonic() - started, 3)}
    if (forgetting := result.get("forgetting")) and forgetting["is_forgotten"]:
        facts = {name: value for name, value in forgetting.items() if name != "text"}
        outbox.event("warn", "evaluation.forgotten", forgetting["text"], **facts)
    write_json(folder / RESULTS, result)
    outbox.send("result", **result)
    return WorkerExit.DONE


def _measure_all(
    job: EvaluateJob, sets: Sequence[EvalSet], folder: Path, resident: Resident, progress: Progress
) -> tuple[list[SubjectResults], float]:
    """Bring every model's book up to date and score it; the candidate first, which a warm process still holds.

    The basics are asked by themselves, after the rest, so that no other answer depends on them; how long that took is
    returned too (seconds).
    """
    hardware = resolve_hardware(job.train)
    own, basics = split_basics(job, sets)
    wanted, wanted_basics = _wanted(own), _wanted(basics)
    subjects = [_Subject(job, ref, hardware) for ref in labels(job)]
    every = [*wanted, *wanted_basics]
    progress.begin(sum(len(rows) for each in subjects for rows in missing(each.book, every, each.max_length)))
    results = []
    seconds = 0.0
    for each in subjects:
        load = functools.partial(resident.get, each.ref, each.base_folder, hardware)
        with each.book:
            measure(each.book, wanted, load, job.evaluate, each.max_length, progress.beat)
            started = time.monotonic()
            measure(each.book, wanted_basics, load, job.evaluate, each.max_length, progress.beat)
            seconds += time.monotonic() - started
        results.append(score_subject(each.ref.label, sets, each.book, each.max_length, folder))
    return results, seconds


class _Subject:
    """A model to measure, with what its base says about how."""

    def __init__(self, job: EvaluateJob, ref: ModelRef, hardware: Hardware) -> None:
        self.ref = ref
        self.base_folder = _base_folder(ref)
        self.max_length = resolve_max_length(self.base_folder, job.train)
        conditions = conditions_of(self.base_folder, hardware)
        self.book = AnswerBook(job.answers, ref.weights_sha256, conditions, job.evaluate.max_new_tokens)


def _base_folder(ref: ModelRef) -> Path:
    if ref.base.folder is None:
        raise SettingError(
            f"the base {ref.base.name!r} of {ref.label} has no folder on this machine",
            "an evaluation loads models from disk alone",
            "train a version first, or point model.base at a folder",
        )
    return ref.base.folder


def _wanted(sets: Sequence[EvalSet]) -> list[Wanted]:
    """Return each row once for each length its answer may have, answered when any set wants its answer."""
    wanted: dict[tuple[str, int | None], Wanted] = {}
    for item in (item for each in sets for item in each.items):
        key = item.row.id, item.max_new_tokens
        known = wanted.get(key)
        is_answered = item.is_answered or (known is not None and known.is_answered)
        wanted[key] = Wanted(item.row, is_answered, item.max_new_tokens)
    return list(wanted.values())


def _tell_problem(each: EvalSet, outbox: Outbox) -> None:
    if each.problem:
        outbox.event("warn", "evaluation.unreadable", f"{each.name} is not measured: {each.problem}", set=each.name)


def _tell_left_out(each: EvalSet, outbox: Outbox) -> None:
    _tell_problem(each, outbox)
    for reason, count in each.left_out.items():
        outbox.event(
            "warn", "evaluation.left-out", f"{count} items of {each.name} do not count: {reason}",
            set=each.name, reason=reason, count=count,
        )  # fmt: skip
