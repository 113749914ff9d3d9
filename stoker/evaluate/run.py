"""The evaluation task: measure the candidate, its parent and the base on the same items, and reach the verdict.

What a model has answered before is not computed again, and a kill loses a batch at most. The worker that calls
`run_evaluation` reports the end of the task and turns errors into exits.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

from stoker.durable import write_json
from stoker.errors import SettingError, WorkerExit
from stoker.evaluate.answers import AnswerBook, conditions_of
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
    sets = load_sets(job.sets, job.trained, job.evaluate.heldout_answers)
    for each in sets:
        _tell_left_out(each, outbox)
    try:
        subjects = _measure_all(job, sets, folder, resident, progress)
    except Paused:
        return WorkerExit.PAUSED
    outbox.phase("verdict")
    result = {**conclude(job, sets, subjects), "seconds": round(time.monotonic() - started, 3)}
    write_json(folder / RESULTS, result)
    outbox.send("result", **result)
    return WorkerExit.DONE


def _measure_all(
    job: EvaluateJob, sets: Sequence[EvalSet], folder: Path, resident: Resident, progress: Progress
) -> list[SubjectResults]:
    """Bring every model's book up to date and score it; the candidate first, which a warm process still holds."""
    hardware = resolve_hardware(job.train)
    wanted = _wanted(sets)
    subjects = [_Subject(job, ref, hardware) for ref in labels(job)]
    progress.begin(sum(len(rows) for each in subjects for rows in missing(each.book, wanted, each.max_length)))
    results = []
    for each in subjects:
        with each.book:
            measure(
                each.book, wanted, functools.partial(resident.get, each.ref, each.base_folder, hardware),
                job.evaluate, each.max_length, progress.beat,
            )  # fmt: skip
        results.append(score_subject(each.ref.label, sets, each.book, each.max_length, folder))
    return results


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
    """Return each row once, answered when any set wants its answer."""
    wanted: dict[str, Wanted] = {}
    for item in (item for each in sets for item in each.items):
        known = wanted.get(item.row.id)
        wanted[item.row.id] = Wanted(item.row, item.is_answered or (known is not None and known.is_answered))
    return list(wanted.values())


def _tell_left_out(each: EvalSet, outbox: Outbox) -> None:
    if each.problem:
        outbox.event("warn", "evaluation.unreadable", f"{each.name} is not measured: {each.problem}", set=each.name)
    for reason, count in each.left_out.items():
        outbox.event(
            "warn", "evaluation.left-out", f"{count} items of {each.name} do not count: {reason}",
            set=each.name, reason=reason, count=count,
        )  # fmt: skip
