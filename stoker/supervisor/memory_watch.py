"""Memory that fills up: the run is paused before the kernel or the driver ends something.

The machine's memory: above `guard.memory_share`, or growing so fast that it is full within `guard.memory_seconds`. A GPU's:
only when other programs fill it; a worker that fills its card itself splits its steps (`train/fit`). A run that is
paused again and again without coming further is left alone and told: pausing does not help it.
"""

from __future__ import annotations

from collections import deque

from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.machine import memory_trend
from stoker.launchers import local
from stoker.spec.guarding import GuardSpec
from stoker.store.records import RunRecord
from stoker.store.store import Transaction
from stoker.supervisor.context import Context
from stoker.supervisor.memory import Memory, gpu_memories, host_memory
from stoker.supervisor.room import ask_to_make_room

NUM_READINGS = 60
MOST_PAUSES = 3


class MemoryWatch:
    """Keeps the last readings and how often each run was paused."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._readings: deque[tuple[float, float]] = deque(maxlen=NUM_READINGS)
        self._others: dict[str, int] = {}
        self._pauses: dict[str, tuple[int, int]] = {}

    def look(self, transaction: Transaction, run: RunRecord, process: local.Process, now: float) -> None:
        """Ask the run to pause when its memory runs out."""
        host = host_memory()
        self._readings.append((now, float(host.used)))
        if run.wanted is not None or run.state != "running":
            return
        found = risk_of(host, list(self._readings), self._context.spec.guard)
        if found is not None:
            self._act(transaction, run, "memory", found, process.memory_bytes())
            return
        for gpu in gpu_memories(process.pid):
            found = self._crowded(gpu)
            if found is not None:
                self._act(transaction, run, "gpu-memory", found, gpu.own or 0)
                return

    def forget(self) -> None:
        """Begin anew: no run is under way."""
        self._readings.clear()
        self._others.clear()

    def _crowded(self, gpu: Memory) -> Finding | None:
        """Tell whether other programs have filled a card since the run began."""
        spec = self._context.spec.guard
        if gpu.own is None or spec.memory_share >= 1:
            return None
        others = gpu.used - gpu.own
        grown = others - self._others.setdefault(gpu.name, others)
        if gpu.share < spec.memory_share or grown < (1 - spec.memory_share) * gpu.limit:
            return None
        text = f"{gpu.name} is {gpu.share:.0%} full: other programs took {grown / 1e9:.1f} GB since the run began"
        return Finding("memory-trend", "warn", 0, text, {"used": gpu.used, "limit": gpu.limit, "others": others})

    def _act(self, transaction: Transaction, run: RunRecord, code: str, found: Finding, needed_bytes: int) -> None:
        times, step = self._pauses.get(run.id, (0, -1))
        times = times + 1 if run.step <= step else 1
        if times <= MOST_PAUSES:
            self._pauses[run.id] = (times, run.step)
            is_told = found.kind not in self._context.spec.watch.ignore
            ask_to_make_room(transaction, run, code, needed_bytes, found, found.text, is_told=is_told)
            self.forget()
        elif times == MOST_PAUSES + 1:
            self._pauses[run.id] = (times, run.step)
            text = (
                f"{found.text} {run.id} was paused {MOST_PAUSES} times without coming further and is now left to go on"
            )
            transaction.event("critical", "recovery.gave-up", text, run=run.id, **found.numbers)


def risk_of(host: Memory, readings: list[tuple[float, float]], spec: GuardSpec) -> Finding | None:
    """Return what speaks for pausing now, or None."""
    numbers: dict[str, float] = {"used": host.used, "limit": host.limit}
    if spec.memory_share >= 1:
        return None
    if host.share >= spec.memory_share:
        text = f"{host.share:.1%} of {host.name} is in use (guard.memory_share = {spec.memory_share:g})"
        return Finding("memory-trend", "warn", 0, text, numbers)
    if spec.memory_seconds == 0 or host.share < spec.memory_resume_share:
        return None
    return memory_trend(readings, host.limit, spec.memory_seconds)
