"""The machine's readings, every few seconds, into the series MACHINE.

GPUs are read in a thread of their own, since a driver may never answer: then their series have a gap, which is told once,
and everything else goes on. A reading that can't be kept (a full disk) is dropped; watching ends nothing. What the machine
has is kept under "machine" in the lab's values, so that "no GPU" is logged when it is news and not at each start; a card that
comes or falls silent later is an event.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import psutil
from sqlalchemy.exc import OperationalError

from stoker.hardware.gpus import GpuReading, Gpus
from stoker.hardware.host import host_facts, read_host
from stoker.store.series import MACHINE, Point, put_points, remove_before, thin_before
from stoker.store.store import Transaction
from stoker.supervisor.context import Context
from stoker.supervisor.energy import measure_runs
from stoker.supervisor.workers import Workers

log = logging.getLogger(__name__)

GPU_WAIT_SECONDS = 2.0
SILENT_SECONDS = 60.0
TIDY_SECONDS = 3600.0
THINNED_SECONDS = 60
DAY_SECONDS = 86_400
_VALUES = ("utilisation", "memory", "power", "temperature", "energy")


class Hardware:
    """Reads the machine while the supervisor turns."""

    def __init__(self, context: Context, workers: Workers, gpus: Gpus | None = None) -> None:
        self._context, self._workers = context, workers
        self._reading = _GpuReading(gpus or Gpus())
        self._begun: float | None = None
        self._due = 0.0
        self._tidy_due = 0.0
        self._answered = context.now()

    def tick(self) -> bool:
        """Begin a reading when one is due, keep it once it is complete; tell whether one was kept."""
        now, spec = self._context.now(), self._context.spec.hardware
        if not spec.sample_seconds:
            return False
        if self._begun is None:
            if now >= self._due:
                self._due, self._begun = now + spec.sample_seconds, now
                self._reading.begin()
            return False
        if self._reading.is_pending and now - self._begun < GPU_WAIT_SECONDS:
            return False
        self._begun = None
        try:
            self._keep(now)
        except (OperationalError, OSError, psutil.Error) as error:
            log.warning("a reading of the machine is lost: %s", error)
            return False
        return True

    def _keep(self, now: float) -> None:
        gpus = self._reading.take()
        host = read_host(self._context.workspace.state)
        points: list[Point] = [(name, int(now), value) for name, value in host.items()]
        if self._workers.process is not None and self._workers.is_alive:
            points.append(("worker.memory", int(now), float(self._workers.process.memory_bytes())))
        for gpu in gpus or ():
            points.extend(_points(gpu, int(now)))
        with self._context.store.transaction() as transaction:
            put_points(transaction, MACHINE, points)
            measure_runs(transaction)
            self._tell(transaction, now, gpus)
            if now >= self._tidy_due:
                self._tidy_due = now + TIDY_SECONDS
                self._tidy(transaction, int(now))

    def _tell(self, transaction: Transaction, now: float, gpus: list[GpuReading] | None) -> None:
        """Say what is news about the cards; `gpus` None: they did not answer."""
        known: dict[str, Any] = transaction.get("machine", {})
        if gpus is not None:
            self._answered = now
        elif now - self._answered < SILENT_SECONDS:
            return
        state = "silent" if gpus is None or (not gpus and known.get("gpus")) else "found" if gpus else "none"
        cards = known.get("gpus", []) if not gpus else [{"name": gpu.name, "memory": gpu.memory_total} for gpu in gpus]
        reason = None if gpus else self._reading.reason or f"no answer for {SILENT_SECONDS:.0f} s"
        found = {**host_facts(), "gpus": cards, "state": state, "reason": reason}
        if found == known:
            return
        transaction.put("machine", found)
        names = ", ".join(str(card["name"]) for card in cards)
        text = {
            "none": f"no GPU ({reason}): training runs on the CPU",
            "found": f"GPU: {names}",
            "silent": f"the GPU is not read any more ({reason}); training goes on, its series have a gap",
        }[state]
        log.info(text)
        if known and state != known["state"]:
            transaction.event("warn" if state == "silent" else "info", f"gpu.{state}", text)

    def _tidy(self, transaction: Transaction, now: int) -> None:
        """Thin what is old, remove what is older."""
        spec = self._context.spec.hardware
        done = transaction.get("machine_thinned", 0)
        fine = now - int(spec.fine_days * DAY_SECONDS)
        transaction.put("machine_thinned", thin_before(transaction, MACHINE, fine, THINNED_SECONDS, done))
        remove_before(transaction, MACHINE, now - int(spec.keep_days * DAY_SECONDS))


class _GpuReading:
    """One reading at a time, in a thread that dies with the process."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._thread: threading.Thread | None = None
        self._found: list[GpuReading] | None = None

    @property
    def is_pending(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def reason(self) -> str | None:
        return None if self.is_pending else self._gpus.reason

    def begin(self) -> None:
        if self.is_pending:
            return
        self._found = None
        self._thread = threading.Thread(target=self._read, name="gpu-reading", daemon=True)
        self._thread.start()

    def take(self) -> list[GpuReading] | None:
        """Return the cards; None while they do not answer."""
        return None if self.is_pending else self._found

    def _read(self) -> None:
        self._found = self._gpus.read()


def _points(gpu: GpuReading, at: int) -> list[Point]:
    values = ((name, getattr(gpu, name)) for name in _VALUES)
    return [(f"gpu{gpu.index}.{name}", at, value) for name, value in values if value is not None]
