"""The guard: what the supervisor sees from outside of a worker, and what it does about it.

    hangs         the worker is ended; its task is planned again as after any crash
    memory, disk  the run is asked to pause while it still can, and goes on when there is room (`room`)
    throughput    told, nothing else

It looks at the lane's open tasks every `guard.check_seconds`, and changes nothing inside of a run.
"""

from __future__ import annotations

from stoker.analysis.detectors.machine import throughput_drop
from stoker.launchers import local
from stoker.store.records import AssignmentRecord
from stoker.supervisor import disk_watch, hangs, queue
from stoker.supervisor.context import Context
from stoker.supervisor.housekeeping import make_room
from stoker.supervisor.lane import Lane
from stoker.supervisor.memory_watch import MemoryWatch
from stoker.supervisor.pulse import Pulse, read_process
from stoker.supervisor.workers import Workers

QUIET_SECONDS = 600.0


class Guard:
    """Looks after the lane's open tasks."""

    def __init__(self, context: Context, lane: Lane, workers: Workers) -> None:
        self._context, self._lane, self._workers = context, lane, workers
        self._memory = MemoryWatch(context)
        self._looked_at = float("-inf")
        self._made_room_at = self._slow_told_at = float("-inf")

    def tick(self) -> None:
        """Look, when it is time."""
        now = self._context.awake.seconds
        if now - self._looked_at < self._context.spec.guard.check_seconds:
            return
        self._looked_at = now
        self._context.refresh_settings()  # what a person sets against a pause that lasts is taken at once
        process, worker_id = self._workers.process, self._workers.id
        tasks = self._lane.tasks()
        if process is None or worker_id is None or not tasks or not process.is_alive():
            self._memory.forget()
            return
        for _, pulse in tasks[1:]:
            pulse.wait(now)  # the worker goes through its list in order
        task, pulse = tasks[0]
        pulse.look(read_process(process.pid), now)
        if hangs.is_hung(pulse, now, self._context.spec.guard.hang_seconds):
            hangs.end_hung(self._context, worker_id, process, task, pulse, now)
        elif task.kind == "train":
            self._look_at_room(task, process, now)
            self._look_at_speed(task, pulse, now)

    def _look_at_room(self, task: AssignmentRecord, process: local.Process, now: float) -> None:
        with self._context.store.transaction() as transaction:
            run = queue.get_run(transaction, task.subject)
            self._memory.look(transaction, run, process, now)
        if not disk_watch.is_short(self._context, run):
            return
        if now - self._made_room_at >= QUIET_SECONDS:
            self._made_room_at = now
            make_room(self._context)
        with self._context.store.transaction() as transaction:
            disk_watch.ask_for_space(self._context, transaction, queue.get_run(transaction, run.id))

    def _look_at_speed(self, task: AssignmentRecord, pulse: Pulse, now: float) -> None:
        share = self._context.spec.guard.throughput_share
        if share == 0 or now - self._slow_told_at < QUIET_SECONDS:
            return
        if "throughput-drop" in self._context.spec.watch.ignore:
            return
        found = throughput_drop(list(pulse.speeds), drop=1 - share)
        if found is None:
            return
        self._slow_told_at = now
        with self._context.store.transaction() as transaction:
            transaction.event(found.severity, found.kind, found.text, run=task.subject, **found.numbers)
