"""One task: read its job, give it to its station, and end it with `finished` whatever happens.

This is the process boundary: every error becomes an exit that the supervisor understands, its traceback goes to the
log. A kill alone leaves no message; the supervisor finds that out by the lock.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stoker.errors import DiskFull, InvalidInput, NonFinite, UserError, WorkerExit
from stoker.evaluate.run import run_evaluation
from stoker.mailbox.control import is_signalled
from stoker.mailbox.messages import Outbox
from stoker.model.resident import Resident
from stoker.spec.jobs import (
    BenchJob,
    ChatJob,
    EvaluateJob,
    GenerateJob,
    InfluenceJob,
    Job,
    MergeJob,
    PrepareJob,
    PreviewJob,
    TrainJob,
    read_job,
)
from stoker.train.run import prepare_run, run_training
from stoker.worker.asking import run_generate, run_merge
from stoker.worker.chatting import run_chat
from stoker.worker.influencing import run_influence
from stoker.worker.previewing import run_preview

logger = logging.getLogger(__name__)

_SPACE_POLL_SECONDS = 1.0


def work_on(folder: Path, resident: Resident) -> WorkerExit:
    """Carry out the job of a task folder and say `finished`; raises only SystemExit, when even that can't be written."""
    try:
        job = read_job(folder)
    except (OSError, ValidationError) as error:
        logger.exception("%s holds no job", folder)
        return _end(Outbox(folder), InvalidInput(f"{folder} holds no job that can be read", str(error)))
    outbox = Outbox(folder, job.fence if isinstance(job, TrainJob) else 0)
    try:
        exit = _dispatch(job, folder, outbox, resident)
    except Exception as error:  # the boundary: a task's crash must not take the worker with it
        logger.exception("%s ended with an error", folder)
        return _end(outbox, error)
    if not outbox.is_finished:
        outbox.finished(exit, "" if exit is WorkerExit.DONE else "asked to pause")
    return exit


def _dispatch(job: Job, folder: Path, outbox: Outbox, resident: Resident) -> WorkerExit:
    if isinstance(job, TrainJob):
        return run_training(job, folder, outbox, resident)
    if isinstance(job, PrepareJob):
        prepare_run(job.job, outbox)
        return WorkerExit.DONE
    if isinstance(job, EvaluateJob):
        return run_evaluation(job, folder, outbox, resident)
    if isinstance(job, GenerateJob):
        return run_generate(job, folder, outbox, resident)
    if isinstance(job, ChatJob):
        return run_chat(job, folder, outbox, resident)
    if isinstance(job, PreviewJob):
        return run_preview(job, folder, outbox)
    if isinstance(job, BenchJob):
        from stoker.worker.benching import run_bench  # with an HTTP client that nothing else here needs

        return run_bench(job, folder, outbox, resident)
    if isinstance(job, InfluenceJob):
        return run_influence(job, folder, outbox, resident)
    if isinstance(job, MergeJob):
        return run_merge(job, outbox, resident)
    raise InvalidInput(f"a worker takes no {job.kind!r} task", "", "it runs as python -m stoker.data FOLDER")


def _end(outbox: Outbox, error: Exception) -> WorkerExit:
    """Tell the end of a failed task. On a full disk that waits for space: nobody would know otherwise."""
    exit, fields = _explain(error)
    while True:
        try:
            outbox.finished(exit, **fields)
            return exit
        except DiskFull as full:
            logger.warning("the end of %s can't be told yet: %s", outbox.folder, full)
            if is_signalled():
                return exit
            time.sleep(_SPACE_POLL_SECONDS)


def _explain(error: Exception) -> tuple[WorkerExit, dict[str, Any]]:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, DiskFull):
        return WorkerExit.DISK_FULL, {"reason": str(error), "needed_bytes": error.needed_bytes}
    if isinstance(error, NonFinite):
        return WorkerExit.NON_FINITE, {"reason": str(error)}
    if isinstance(error, UserError):
        words = {"what": error.what, "why": error.why, "remedy": error.remedy}
        return WorkerExit.BAD_CONFIG, {"reason": str(error), "error": type(error).__name__, **words}
    return WorkerExit.CRASH, {"reason": reason, "error": type(error).__name__}
