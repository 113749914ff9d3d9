"""How an open task shows that it lives: what it says, and what its process does meanwhile.

A message resets its silence. A process that computes, reads or writes, or is held up by a busy disk or processor, moves;
one that is stopped or waits for a lock that never comes does not. Times are awake seconds (`awake`).
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

NUM_STEPS = 64
# Less processor time than this share of one core is what sleeping threads of the libraries use.
IDLE_SHARE = 0.01
IDLE_SECONDS = 0.05


@dataclass(frozen=True)
class Reading:
    """What a process has done since its start."""

    cpu_seconds: float
    num_bytes: int
    is_held_up: bool = False
    """A thread of it waits for a disk, which nothing can end, or for a processor: a full machine is no hang."""


class Pulse:
    """One task's. `phase` is "" until the task has told one."""

    def __init__(self, now: float, phase: str = "") -> None:
        self.phase = phase
        self.heard_at = now
        self.speeds: deque[tuple[float, float]] = deque(maxlen=4 * NUM_STEPS)
        self._step_seconds: deque[float] = deque(maxlen=NUM_STEPS)
        self._activity = Activity(now)

    def hear(self, messages: Sequence[Mapping[str, Any]], now: float) -> None:
        """Take up what the task said."""
        for message in messages:
            self.heard_at = now
            if message["kind"] == "phase":
                self.phase = str(message["name"])
            elif message["kind"] == "step":
                self.phase = "train"
                self._hear_step(message, now)
            elif message["kind"] == "change" or message.get("code") == "memory.tight":
                self.speeds.clear()  # what a step takes from here on is another matter

    def wait(self, now: float) -> None:
        """Note that the task waits behind another one: its silence has not begun."""
        self.heard_at = now

    def look(self, reading: Reading | None, now: float) -> None:
        """Note whether the task's process has moved since the last look."""
        if reading is not None:
            self._activity.note(reading, now)

    @property
    def median_step_seconds(self) -> float | None:
        """The median of the last steps; None before the first."""
        return statistics.median(self._step_seconds) if self._step_seconds else None

    def silence_seconds(self, now: float) -> float:
        return now - self.heard_at

    def stillness_seconds(self, now: float) -> float:
        """Return how long nothing was said and the process did not move either."""
        return now - max(self.heard_at, self._activity.moved_at)

    def _hear_step(self, message: Mapping[str, Any], now: float) -> None:
        seconds, tokens = message.get("seconds"), message.get("tokens")
        if seconds:
            self._step_seconds.append(float(seconds))
            if tokens:
                self.speeds.append((now, float(tokens) / float(seconds)))


class Activity:
    """Whether a process moves: processor time, bytes read or written, or held up."""

    def __init__(self, now: float) -> None:
        self.moved_at = now
        self._last: Reading | None = None

    def note(self, reading: Reading, now: float) -> None:
        """Compare with the last time that the process had moved."""
        last = self._last
        if last is not None and not reading.is_held_up and reading.num_bytes == last.num_bytes:
            used = reading.cpu_seconds - last.cpu_seconds
            if used < max(IDLE_SECONDS, IDLE_SHARE * (now - self.moved_at)):
                return
        self._last, self.moved_at = reading, now


def read_process(pid: int) -> Reading | None:
    """Return what a process has done so far; None when it is gone."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return Reading(times.user + times.system, _bytes_moved(process), _is_held_up(process))
    except psutil.Error:
        return None


def _is_held_up(process: psutil.Process) -> bool:
    """Tell whether any thread is runnable or in a wait for a disk; of the main thread alone where /proc does not say."""
    threads = Path(f"/proc/{process.pid}/task")
    if not threads.is_dir():
        return process.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
    for thread in threads.iterdir():
        try:
            state = (thread / "stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            continue  # it has just ended
        if state in (b"R", b"D"):
            return True
    return False


def _bytes_moved(process: psutil.Process) -> int:
    try:
        counters = process.io_counters()
    except (psutil.Error, AttributeError, OSError):
        return 0  # not told on this system, or not to us
    return int(counters.read_bytes + counters.write_bytes)
