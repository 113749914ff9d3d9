"""Kills a lab's worker, supervisor or both at random moments, and starts what is missing, until the lab is done.

A kill inside a save is made by a fault point in the worker's environment (the process ends itself with SIGKILL between
two durable writes of a checkpoint or a version); every other kill comes from outside at a random time. Each kill is
counted once, when the process is known to be gone.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from chaos_lab import make_lab, start
from sqlalchemy import select

from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.workspace import Workspace

SAVE_POINTS = (
    "checkpoint.filled", "checkpoint.manifest", "checkpoint.rename", "checkpoint.renamed",
    "version.filled", "version.manifest", "version.rename", "version.renamed",
)  # fmt: skip
LIFE_SECONDS = 900.0  # a bound on hangs, not a measure: the machine may be busy


@dataclass
class Tally:
    """The kills so far, shared by labs that run beside each other."""

    wanted: int
    wanted_in_saves: int
    by_target: Counter[str] = field(default_factory=Counter)
    by_point: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def num_kills(self) -> int:
        return sum(self.by_target.values())

    @property
    def num_in_saves(self) -> int:
        return sum(self.by_point.values())

    def is_met(self) -> bool:
        return self.num_kills >= self.wanted and self.num_in_saves >= self.wanted_in_saves

    def count(self, target: str, point: str | None = None) -> None:
        with self.lock:
            self.by_target[target] += 1
            if point is not None:
                self.by_point[point] += 1


class Monkey:
    """Takes one lab from its full inbox to idle, disturbing it while the tally wants more."""

    def __init__(self, root: Path, seed: int, tally: Tally) -> None:
        self.workspace: Workspace = make_lab(root)
        self._draw = random.Random(seed)
        self._tally = tally
        self._supervisor: subprocess.Popen[bytes] | None = None

    def work(self) -> None:
        """Disturb and restart until a supervisor ends by itself with nothing left to do."""
        try:
            while not self._tally.is_met():
                if self._disturb():
                    return
            self._finish()
        finally:
            self._end_all()

    def _disturb(self) -> bool:
        """Make one kill; return whether the lab was done before it came to that."""
        needs_saves = self._tally.num_in_saves * 2 <= self._tally.num_kills
        if needs_saves or self._draw.random() < 0.4:
            return self._kill_in_save()
        return self._kill_at_random(self._draw.choice(("worker", "supervisor", "both")))

    def _kill_in_save(self) -> bool:
        """Run with a fault point until a worker dies of it; the supervisor then dies too, or ends politely."""
        self._end_supervisor(signal.SIGTERM)
        nth = self._draw.choice((1, 2, 2, 3))
        point = self._draw.choice(SAVE_POINTS)
        nth = 1 if point.startswith("version") else nth
        self._supervisor = start(self.workspace, f"{point}:kill@{nth}")
        deadline = time.monotonic() + LIFE_SECONDS
        watched: psutil.Process | None = None
        while time.monotonic() < deadline:
            if self._supervisor.poll() is not None:
                return self._is_done()
            if watched is None:
                found = self._worker()
                watched = found if found is not None and fault_of(found) else None
            elif not is_alive(watched):
                has_company = self._draw.random() < 0.5
                self._tally.count("both" if has_company else "worker", point)
                self._end_supervisor(signal.SIGKILL if has_company else signal.SIGTERM)
                return False
            time.sleep(0.02)
        raise TimeoutError(f"{self.workspace.root}: no end in {LIFE_SECONDS} s with {point}@{nth}")

    def _kill_at_random(self, target: str) -> bool:
        if self._supervisor is None or self._supervisor.poll() is not None:
            self._supervisor = start(self.workspace)
        if self._draw.random() < 0.7:
            self._await_progress()
        pause = self._draw.uniform(0.0, 2.0)
        time.sleep(pause)
        if self._supervisor.poll() is not None:
            return self._is_done()
        worker = self._worker()
        if target == "supervisor" or worker is None:
            self._end_supervisor(signal.SIGKILL)
            self._tally.count("supervisor")
            return False
        kill(worker)
        if target == "both":
            self._end_supervisor(signal.SIGKILL)
        self._tally.count(target)
        return False

    def _await_progress(self) -> None:
        """Wait until a worker says something new: past its start-up."""
        deadline = time.monotonic() + 30.0
        before = self._bytes_said()
        while time.monotonic() < deadline and self._bytes_said() == before:
            if self._supervisor is None or self._supervisor.poll() is not None:
                return
            time.sleep(0.02)

    def _bytes_said(self) -> int:
        state = self.workspace.state
        paths = [*state.glob("runs/*/messages.jsonl"), *state.glob("evaluations/*/messages.jsonl")]
        return sum(path.stat().st_size for path in paths)

    def _finish(self) -> None:
        """Let the lab come to its end undisturbed."""
        while True:
            self._end_supervisor(signal.SIGTERM)
            self._end_faulty_worker()
            self._supervisor = start(self.workspace)
            status = self._supervisor.wait(timeout=LIFE_SECONDS)
            assert status == 0, f"the supervisor of {self.workspace.root} ended with {status}"
            return

    def _end_faulty_worker(self) -> None:
        worker = self._worker()
        if worker is not None and fault_of(worker):
            kill(worker)

    def _is_done(self) -> bool:
        """Tell whether a supervisor that ended by itself ended well; anything else is a failure."""
        assert self._supervisor is not None
        assert self._supervisor.returncode == 0, f"the supervisor of {self.workspace.root} ended by itself"
        self._supervisor = None
        return True

    def _worker(self) -> psutil.Process | None:
        """Return the living worker that the store knows."""
        if not self.workspace.store.is_file():
            return None
        w = t.workers
        statement = select(w.c.pid).where(w.c.state == "alive", w.c.pid.is_not(None)).order_by(w.c.number.desc())
        try:
            with Reader(self.workspace).connect() as connection:
                pid = connection.scalar(statement.limit(1))
            process = psutil.Process(pid) if pid is not None else None
            wanted = str(self.workspace.workers)
            return (
                process if process and is_alive(process) and any(wanted in word for word in process.cmdline()) else None
            )
        except Exception:  # noqa: BLE001 - the store may be half way through its first migration, the process gone
            return None

    def _end_supervisor(self, number: signal.Signals) -> None:
        if self._supervisor is not None and self._supervisor.poll() is None:
            self._supervisor.send_signal(number)
            self._supervisor.wait(timeout=LIFE_SECONDS)
        self._supervisor = None

    def _end_all(self) -> None:
        self._end_supervisor(signal.SIGKILL)
        worker = self._worker()
        if worker is not None:
            kill(worker)


def kill(process: psutil.Process) -> None:
    """End a process by its id and wait until it is gone."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    while is_alive(process):
        time.sleep(0.005)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def fault_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("STOKER_FAULT")
    except psutil.Error:
        return None
