"""The loop of a warm worker: take the next task folder, work on it, clear up, wait for another."""

from __future__ import annotations

import gc
import logging
import os
import time
from pathlib import Path

import psutil
import torch

from stoker.errors import WorkerExit
from stoker.locks import FileLock
from stoker.mailbox.control import is_signalled
from stoker.mailbox.worker_box import EXIT_TASK, WORKER_LOCK, WorkerCard, task_reader, write_card
from stoker.model.resident import Resident
from stoker.worker.tasks import work_on

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.015


class Worker:
    """Holds its folder's lock for its whole life, and keeps models between tasks."""

    def __init__(self, folder: Path, idle_seconds: float) -> None:
        self._folder, self._idle_seconds = folder, idle_seconds
        self._resident = Resident()

    def work(self) -> int:
        """Work through the list until told to end, signalled, or idle too long; return the exit status."""
        with FileLock(self._folder / WORKER_LOCK).held():
            self._write_card()
            tasks = task_reader(self._folder)
            idle_since = time.monotonic()
            while not is_signalled():
                for number, record in enumerate(given := tasks.read(), start=1):
                    if record["folder"] == EXIT_TASK:
                        return WorkerExit.DONE
                    exit = self._work_on(Path(record["folder"]))
                    if is_signalled() and (exit is WorkerExit.PAUSED or number < len(given)):
                        return WorkerExit.PAUSED
                    idle_since = time.monotonic()
                if not given:
                    if time.monotonic() - idle_since > self._idle_seconds:
                        logger.info("no task for %g s", self._idle_seconds)
                        return WorkerExit.DONE
                    time.sleep(_POLL_SECONDS)
        return WorkerExit.DONE

    def work_once(self, task: Path) -> int:
        """Work on one task and return its exit."""
        with FileLock(self._folder / WORKER_LOCK).held():
            self._write_card()
            return work_on(task, self._resident)

    def _work_on(self, task: Path) -> WorkerExit:
        logger.info("task %s", task)
        exit = work_on(task, self._resident)
        logger.info("task %s ended with %s", task, exit.name)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return exit

    def _write_card(self) -> None:
        process = psutil.Process(os.getpid())
        write_card(self._folder, WorkerCard(process.pid, process.create_time(), process.memory_info().rss))
