"""A worker in a process of its own, forked from a server that has imported the libraries once: a start costs little."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from train_lab import messages

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["peft", "stoker.worker.loop", "transformers.trainer", "train_lab"])


class Child:
    """`python -m stoker.worker FOLDER ARGUMENTS`, as a process that can be killed."""

    def __init__(self, folder: Path, *arguments: object, fault: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log = folder, folder / "log.txt"
        words = [str(folder), *map(str, arguments)]
        self.process = _context.Process(target=_work, args=(words, str(self.log), fault))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def wait(self, seconds: float = 120) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def await_message(self, folder, wanted, seconds=120):
        """Return the first message of a task that is wanted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := [message for message in messages(folder) if wanted(message)]:
                return found[0]
            assert self.is_alive, self.log.read_text()
            time.sleep(0.005)
        raise AssertionError(f"waited too long: {self.log.read_text()}")


def _work(words: list[str], log: str, fault: str | None) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if fault:
        os.environ["STOKER_FAULT"] = fault
    from stoker.worker.__main__ import main

    status = main(words)
    sys.stderr.flush()
    os._exit(status)
