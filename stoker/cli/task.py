"""A small task in a worker of its own (generate, preview, bench, influence, merge): started, followed to its end, cleaned up.

It needs no supervisor. The worker is a separate process and talks through the task folder like any other.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stoker.errors import InvalidInput, PermanentError, WorkerExit, WorkerFailed
from stoker.launchers import local
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.mailbox.worker_box import WORKER_LOG
from stoker.spec.jobs import JOB, BenchJob, GenerateJob, InfluenceJob, MergeJob, PreviewJob
from stoker.workspace import Workspace

_LOOK_SECONDS = 0.03


def run_task(
    workspace: Workspace,
    job: GenerateJob | PreviewJob | BenchJob | InfluenceJob | MergeJob,
    *,
    nice: int = 0,
    variables: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Yield the task's messages as they come, `finished` included; raise when it did not end well.

    `variables` are names of this process's environment that the worker gets too.
    """
    workspace.create()
    folder = workspace.tasks / f"{job.kind}-{uuid.uuid4().hex[:8]}"
    worker = folder / "worker"
    worker.mkdir(parents=True)
    (folder / JOB).write_text(job.model_dump_json(), "utf-8")
    log = worker / WORKER_LOG
    process = local.start("stoker.worker", worker, "--once", str(folder), log=log, nice=nice, variables=variables)
    try:
        yield from _follow(folder, process, log)
    finally:
        local.stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _follow(folder: Path, process: local.Process, log: Path) -> Iterator[dict[str, Any]]:
    journal = JournalReader(folder / MESSAGES)
    while True:
        was_alive = process.is_alive()
        for message in journal.read():
            yield message
            if message["kind"] == "finished":
                _check_end(message)
                return
        if not was_alive:
            raise WorkerFailed(f"the worker ended before its task was done:\n{_tail(log)}")
        time.sleep(_LOOK_SECONDS)


def _check_end(message: dict[str, Any]) -> None:
    if message["exit"] == WorkerExit.DONE:
        return
    if message["exit"] == WorkerExit.BAD_CONFIG:
        raise InvalidInput(message.get("what") or message["reason"], message.get("why", ""), message.get("remedy", ""))
    if message["exit"] == WorkerExit.DISK_FULL:
        raise PermanentError(message["reason"])
    raise WorkerFailed(message["reason"] or f"the worker ended with {message['exit']}")


def _tail(log: Path, num_lines: int = 12) -> str:
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-num_lines:]) or "  (it wrote nothing)"
