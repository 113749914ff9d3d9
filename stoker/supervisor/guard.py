"""The guard: what the supervisor sees from outside of a worker, and what it does about it.

Each watch looks at the open tasks every `guard.check_seconds`; it reads what the processes do and what the lane heard,
and acts through the ways that exist already: the worker is ended (the crash path plans again), or the run is asked to
pause. It changes nothing inside of a run.
"""

from __future__ import annotations

from stoker.supervisor import hangs
from stoker.supervisor.context import Context
from stoker.supervisor.lane import Lane
from stoker.supervisor.pulse import read_process
from stoker.supervisor.workers import Workers


class Guard:
    """Looks after the lane's open tasks."""

    def __init__(self, context: Context, lane: Lane, workers: Workers) -> None:
        self._context, self._lane, self._workers = context, lane, workers
        self._looked_at = float("-inf")

    def tick(self) -> None:
        """Look, when it is time."""
        now = self._context.awake.seconds
        if now - self._looked_at < self._context.spec.guard.check_seconds:
            return
        self._looked_at = now
        self._end_hung(now)

    def _end_hung(self, now: float) -> None:
        process, worker_id = self._workers.process, self._workers.id
        if process is None or worker_id is None or not process.is_alive():
            return
        tasks = self._lane.tasks()
        for _, pulse in tasks[1:]:
            pulse.wait(now)  # the worker goes through its list in order
        for task, pulse in tasks[:1]:
            pulse.look(read_process(process.pid), now)
            if hangs.is_hung(pulse, now, self._context.spec.guard.hang_seconds):
                hangs.end_hung(self._context, worker_id, process, task, pulse, now)
