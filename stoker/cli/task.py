"""A small task in a worker of its own (generate, chat, preview, bench, influence, merge): started, followed to its end, cleaned up.

It needs no supervisor. The worker is a separate process and talks through the task folder like any other.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stoker.errors import InvalidInput, PermanentError, WorkerExit, WorkerFailed
from stoker.launchers import local
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.mailbox.worker_box import WORKER_LOG
from stoker.spec.jobs import JOB, BenchJob, ChatJob, GenerateJob, InfluenceJob, MergeJob, PreviewJob
from stoker.workspace import Workspace

LOOK_SECONDS = 0.03


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
    with RunningTask(workspace, job, nice=nice, variables=variables) as task:
        is_over = False
        while not is_over:
            for message in task.read():
                yield message
                is_over = message["kind"] == "finished"
            if not is_over:
                time.sleep(LOOK_SECONDS)


class RunningTask:
    """A task's worker; use it as a context, which ends the worker and removes the task's folder."""

    def __init__(
        self,
        workspace: Workspace,
        job: GenerateJob | ChatJob | PreviewJob | BenchJob | InfluenceJob | MergeJob,
        *,
        nice: int = 0,
        variables: Sequence[str] = (),
    ) -> None:
        workspace.create()
        self.folder = workspace.tasks / f"{job.kind}-{uuid.uuid4().hex[:8]}"
        worker = self.folder / "worker"
        worker.mkdir(parents=True)
        (self.folder / JOB).write_text(job.model_dump_json(), "utf-8")
        self._log = worker / WORKER_LOG
        self._journal = JournalReader(self.folder / MESSAGES)
        self._process = local.start(
            "stoker.worker", worker, "--once", str(self.folder), log=self._log, nice=nice, variables=variables
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        local.stop(self._process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield what is new; raise when the task did not end well, or its worker is gone."""
        was_alive = self._process.is_alive()
        is_over = False
        for message in self._journal.read():
            yield message
            if message["kind"] == "finished":
                is_over = True
                _check_end(message)
        if not was_alive and not is_over:
            raise WorkerFailed(f"the worker ended before its task was done:\n{_tail(self._log)}")


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
