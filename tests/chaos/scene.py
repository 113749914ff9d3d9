"""One lab under a real `stoker up`, as a fault sees it: what it says, its processes, ways to disturb and to wait.

`python scene.py ROOT SECONDS` runs the lab as `stoker up --until-idle` does, with a clock that jumps by SECONDS ten turns
into training: the one disturbance that can't be made from outside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import psutil

from stoker.spec.reading import read_settings
from stoker.store.reader import Reader
from stoker.supervisor.supervisor import Supervisor
from stoker.workspace import Workspace

PATIENCE_SECONDS = 1000.0  # a bound on hangs, not a measure: the machine may be busy


class Scene:
    """A lab at `workspace` and the process that runs it."""

    def __init__(self, workspace: Workspace, environment: dict[str, str]) -> None:
        self.workspace = workspace
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *program: str) -> None:
        """Start `stoker up --until-idle`, or another program that runs the lab."""
        command = program or ("-m", "stoker", "--lab", str(self.workspace.root), "up", "--until-idle")
        variables = {name: value for name, value in os.environ.items() if name != "STOKER_FAULT"}
        variables |= {"OMP_NUM_THREADS": "1", **self._environment}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output, env=variables)

    @property
    def log(self) -> Path:
        return self.workspace.root.parent / f"{self.workspace.root.name}.log"

    def command(self, *words: str) -> None:
        """Run a command of the lab as a person would."""
        subprocess.run(
            [sys.executable, "-m", "stoker", "--lab", str(self.workspace.root), *words], check=True, capture_output=True
        )

    def wait_for_end(self) -> int:
        """Wait until the lab is idle; return the exit status."""
        assert self.process is not None
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def signal_supervisor(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number != signal.SIGSTOP and number != signal.SIGCONT:
            self.process.wait(timeout=PATIENCE_SECONDS)

    def signal_worker(self, number: signal.Signals) -> None:
        os.kill(self.worker().pid, number)

    def worker(self) -> psutil.Process:
        """Return the living worker."""
        found = self._processes("stoker.worker")
        return found[-1]

    def reader_process(self) -> psutil.Process:
        """Return the process that reads a file."""
        return self.until(lambda: next(iter(self._processes("stoker.data")), None), "a reading process")

    def await_step(self, step: int, run: str = "r1") -> None:
        """Wait until a run has told this step."""
        self.await_word(self.workspace.run(run), f'"step":{step},')

    def await_phase(self, name: str, folder: Path) -> None:
        self.await_word(folder, f'"name":"{name}"')

    def await_word(self, folder: Path, word: str) -> None:
        path = folder / "messages.jsonl"
        self.until(lambda: path.exists() and word.encode() in path.read_bytes(), f"{word} in {path}")

    def await_event(self, code: str) -> None:
        """Wait until the supervisor told an event of this code."""
        self.until(lambda: code in self.codes(), f"event {code}")

    def codes(self) -> list[str]:
        """Return the codes of all events so far, in order."""
        with contextlib.suppress(Exception):  # the store is being made, locked or gone: the fault may be just that
            return [event["code"] for event in Reader(self.workspace).events(limit=100_000)]
        return []

    def until(self, find: Callable[[], object], what: str) -> object:
        """Return what `find` finds, once it does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := find()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} never came; {self.log.read_text()[-2000:]}")
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"the lab ended with {self.process.returncode} before {what}")
            time.sleep(0.005)
        return found

    def newest_checkpoint(self, run: str = "r1") -> Path:
        found = sorted((self.workspace.run(run) / "checkpoints").glob("step-*/manifest.json"))
        return found[-1].parent

    def change_settings(self, section: str, **values: object) -> None:
        """Set keys of a section that the settings do not name yet, or take them out again (no values)."""
        text = self.workspace.settings.read_text().partition(f"\n[{section}]")[0]
        lines = [f"{name} = {orjson.dumps(value).decode()}" for name, value in values.items()]
        self.workspace.settings.write_text("\n".join([text, f"[{section}]", *lines, ""]) if lines else text)

    @contextlib.contextmanager
    def ballast(self, free_bytes: int) -> Iterator[None]:
        """Fill the lab's file system until so much is free."""
        path = self.workspace.root / "ballast"
        try:
            with path.open("wb") as file:
                while not _fill(file.fileno(), path.parent, free_bytes):
                    time.sleep(0.01)  # something was written between the look and the claim
            yield
        finally:
            path.unlink()

    def end_all(self) -> None:
        """End what is left: the supervisor and every process of this lab."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for module in ("stoker.worker", "stoker.data"):
            for process in self._processes(module):
                process.kill()

    def _processes(self, module: str) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                is_ours = module in words and any(str(self.workspace.state) in word for word in words)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())


def _fill(descriptor: int, folder: Path, free_bytes: int) -> bool:
    """Claim what is free but so much; False when it was no longer there."""
    stat = os.statvfs(folder)
    claimed = os.fstat(descriptor).st_size
    try:
        os.posix_fallocate(descriptor, 0, max(1, claimed + stat.f_bavail * stat.f_frsize - free_bytes))
    except OSError:
        return False
    return True


class JumpingClock:
    """The time of day, moved once while a run trains."""

    def __init__(self, workspace: Workspace, seconds: float) -> None:
        self._messages = workspace.run("r1") / "messages.jsonl"
        self._seconds, self._has_jumped = seconds, False

    def time(self) -> float:
        if not self._has_jumped:
            self._has_jumped = self._messages.exists() and b'"step":4,' in self._messages.read_bytes()
        return time.time() + (self._seconds if self._has_jumped else 0.0)


def _main(root: Path, seconds: float) -> None:
    workspace = Workspace(root)
    clock = JumpingClock(workspace, seconds)
    Supervisor(workspace, read_settings(workspace.settings), clock=clock).run(until_idle=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), float(sys.argv[2]))
