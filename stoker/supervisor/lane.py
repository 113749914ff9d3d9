"""The lane: the one stream of tasks that the worker goes through, run after run, each with its evaluation.

    a task is open     its messages are ingested; its end is acted on in the same transaction
    nothing is open    the first of these that is due: a run to go on with, an evaluation, the queue's next run
    the worker ended   what it still said is ingested, what it did not finish is lost and planned again

Every decision is read from the store, so a supervisor that starts goes on from any point at which the last one ended:
a "running" run or evaluation without an open task is simply due. A run paused by hand holds the lane, since what comes
after it in the line would continue something else.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from stoker.durable import retire
from stoker.errors import WorkerExit
from stoker.mailbox.control import send_control
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.store import tables as t
from stoker.store.records import WAITING_CODES, AssignmentRecord, RunRecord
from stoker.store.store import Transaction
from stoker.supervisor import conclude, ingest, queue, recover, schedule, steering, trials
from stoker.supervisor.context import Context
from stoker.supervisor.housekeeping import make_room
from stoker.supervisor.pulse import Pulse
from stoker.supervisor.tightening import tighten
from stoker.supervisor.workers import Workers, close_assignment, last_words, open_assignments

log = logging.getLogger(__name__)

INGEST_SECONDS = 0.25
CONTROL_SECONDS = 1.0
WAITING_SECONDS = 2.0


@dataclass
class _Open:
    """An open task and how far its messages are in the store."""

    task: AssignmentRecord
    tail: ingest.Tail
    offset: int
    pulse: Pulse
    has_started: bool = False


class Lane:
    """Decides what the worker does. `only`: take no other job, and take it even when all is paused."""

    def __init__(self, context: Context, workers: Workers, only: queue.Only | None = None) -> None:
        self._context, self._workers, self._only = context, workers, only
        self._open: list[_Open] = []
        self._ingested_at = 0.0
        self._controlled_at = 0.0
        self._due = 0.0
        self._is_stale = False

    @property
    def is_busy(self) -> bool:
        return bool(self._open)

    def touch(self) -> None:
        """Look again at once: something changed."""
        self._due = 0.0

    def recover(self) -> None:
        """Take up what the last supervisor left: re-attach to its worker, repeat a hand-over that was cut short."""
        self._workers.reattach()
        self.refresh()
        for found in [found.task for found in self._open if found.task.worker == self._workers.id]:
            schedule.give_again(self._context, self._workers, found)
        for worker in {found.task.worker for found in self._open} - {self._workers.id}:
            self._worker_ended(worker, None)
        self._tell_found()
        with self._context.store.transaction() as transaction:
            recover.resume_after_down(transaction)

    def _tell_found(self) -> None:
        """Say that a run went on while nobody looked after it, after what its worker said meanwhile."""
        self.listen()
        process = self._workers.process
        for task in [found.task for found in self._open if found.task.kind == "train"]:
            if process is not None and task.worker == self._workers.id:
                text = f"{task.subject} went on while no supervisor ran; worker {task.worker} (process {process.pid}) was found at work"
                with self._context.store.transaction() as transaction:
                    transaction.event("info", "run.found", text, run=task.subject)

    def refresh(self) -> None:
        """Read the open tasks from the store."""
        known = {found.task.id: found for found in self._open}
        with self._context.store.transaction() as transaction:
            tasks = open_assignments(transaction)
            offsets = {task.id: _offset(transaction, task) for task in tasks}
        self._open = [
            known.get(task.id)
            or _Open(task, ingest.Tail(Path(task.folder), offsets[task.id]), offsets[task.id], self._pulse())
            for task in tasks
        ]
        self._is_stale = False
        self.touch()

    def tick(self) -> bool:
        """Do what is due; return whether anything changed."""
        ended = self._workers.collect_end()
        if ended is not None:
            self._worker_ended(*ended)
            return True
        if self._is_stale:
            self.refresh()
        if self._open:
            return self.listen()
        if self._context.now() < self._due:
            return False
        return self._advance()

    def listen(self) -> bool:
        """Hear the open tasks; return whether one ended."""
        self._repeat_control()
        return any(self._listen(found) for found in list(self._open))

    def tasks(self) -> list[tuple[AssignmentRecord, Pulse]]:
        """Return the open tasks in the order in which the worker takes them, with how they live."""
        return [(found.task, found.pulse) for found in self._open]

    def refresh_later(self) -> None:
        """Doubt what is known of the open tasks: a turn was cut short."""
        self._is_stale = True

    def is_idle(self) -> bool:
        """Tell whether nothing is left that would be done without a person."""
        with self._context.store.transaction() as transaction:
            r = t.runs
            waiting = transaction.first(
                select(r.c.id).where((r.c.state == "running") | (r.c.state == "paused") & r.c.code.in_(WAITING_CODES))
            )
            if self._open or waiting is not None or conclude.next_evaluation(transaction) is not None:
                return False
            return self._is_blocked(transaction) or queue.next_run(transaction) is None

    def pause_for_end(self) -> RunRecord | None:
        """Ask the open run to pause because the supervisor ends; return it when a checkpoint is worth waiting for."""
        for found in self._open:
            if found.task.kind == "train" and self._workers.is_alive:
                with self._context.store.transaction() as transaction:
                    run = queue.get_run(transaction, found.task.subject)
                    if run.wanted is None:
                        transaction.execute(t.runs.update().where(t.runs.c.id == run.id).values(wanted="down"))
                self._controlled_at = 0.0
                self._repeat_control()
                return run if self._has_begun(found) else None
        return None

    def let_go(self) -> None:
        """Enter what the ended worker still said; what it did not finish is due at the next start, no attempt counted."""
        for found in list(self._open):
            if self._listen(found, is_last=True):
                continue
            with self._context.store.transaction() as transaction:
                close_assignment(transaction, found.task.id, "lost")
                if found.task.kind == "train":
                    recover.run_let_go(transaction, found.task.subject)
        self.refresh()

    def _advance(self) -> bool:
        now = self._context.now()
        with self._context.store.transaction() as transaction:
            is_short = queue.find_run(transaction, state="paused", code="disk-full") is not None
        if is_short:
            make_room(self._context)
        with self._context.store.transaction() as transaction:
            recover.wake_waiting(self._context, transaction)
            trials.advance(self._context, transaction)
            run = queue.find_run(transaction, state="running")
            evaluation = conclude.next_evaluation(transaction)
            is_blocked = self._is_blocked(transaction)
        if run is not None and run.not_before <= now:
            self._freshen()
            schedule.start_run(self._context, self._workers, run.id)
        elif run is None and evaluation is not None and evaluation.not_before <= now:
            conclude.begin(self._context, self._workers, evaluation)
        elif run is not None or evaluation is not None:
            self._due = run.not_before if run is not None else evaluation.not_before if evaluation else 0.0
            return False
        elif is_blocked or not self._begin_next():
            self._due = now + WAITING_SECONDS
            return False
        self.refresh()
        return True

    def _begin_next(self) -> bool:
        with self._context.store.transaction() as transaction:
            if queue.next_run(transaction, self._only) is None:
                return False
        self._freshen()
        return schedule.begin_next(self._context, self._workers, self._only)

    def _freshen(self) -> None:
        """Before a run: take changed settings, replace a worker that grew."""
        self._context.refresh_settings()
        if self._workers.has_grown():
            log.info("worker %s grew and is replaced", self._workers.id)
            with self._context.store.transaction() as transaction:
                text = f"worker {self._workers.id} grew by more than {self._context.spec.worker.growth_megabytes} MB"
                transaction.event("info", "worker.recycled", f"{text} and is replaced")
            self._workers.end()
            self._workers.collect_end()

    def _is_blocked(self, transaction: Transaction) -> bool:
        if self._only is not None:
            return False
        return queue.find_run(transaction, state="paused") is not None

    def _listen(self, found: _Open, *, is_last: bool = False) -> bool:
        """Enter a task's new messages; return whether the task ended."""
        now = self._context.now()
        if not is_last:
            if not found.tail.has_news(found.offset):
                return False
            if now - self._ingested_at < INGEST_SECONDS and not found.tail.is_urgent():
                return False
        self._ingested_at = now
        finished: ingest.Message | None = None
        while finished is None and found.tail.has_news(found.offset):
            before = found.offset
            with self._context.store.transaction() as transaction:
                messages = self._read(transaction, found)
                finished = next((message for message in messages if message["kind"] == "finished"), None)
                if finished is not None:
                    close_assignment(transaction, found.task.id, "finished", finished["exit"])
                    self._act_on_end(transaction, found.task, finished, messages)
                found.offset = _offset(transaction, found.task, found.offset)
            self._tell(found.task, messages)
            if not messages and found.offset == before:
                break
        if finished is not None:
            self._after_end(found, finished)
        return finished is not None

    def _pulse(self) -> Pulse:
        return Pulse(self._context.awake.seconds)

    def _read(self, transaction: Transaction, found: _Open) -> list[ingest.Message]:
        folder = Path(found.task.folder)
        if found.task.kind == "train":
            messages = ingest.read_run(transaction, found.task.subject, folder)
        elif found.task.kind == "evaluate":
            messages = ingest.read_evaluation(transaction, found.task.subject, folder)
        else:
            reader = JournalReader(folder / MESSAGES, found.offset)
            messages = reader.read()
            found.offset = reader.offset
        found.has_started = found.has_started or bool(messages)
        found.pulse.hear(messages, self._context.awake.seconds)
        return messages

    def _act_on_end(
        self, transaction: Transaction, task: AssignmentRecord, finished: ingest.Message, messages: list[ingest.Message]
    ) -> None:
        if task.kind == "train":
            recover.run_ended(self._context, transaction, task.subject, finished)
        elif task.kind == "evaluate" and finished["exit"] == WorkerExit.DONE:
            conclude.evaluation_ended(self._context, transaction, task.subject, messages)
        elif task.kind == "evaluate" and finished["exit"] == WorkerExit.DISK_FULL:
            conclude.wait_for_space(self._context, transaction, task.subject)
        elif task.kind == "evaluate" and finished["exit"] != WorkerExit.PAUSED:
            conclude.retry_or_give_up(self._context, transaction, task.subject, _why(finished))

    def _after_end(self, found: _Open, finished: ingest.Message) -> None:
        if found.task.kind == "evaluate":
            self._workers.note_memory()
        _put_away(found.task)
        if finished["exit"] != WorkerExit.DONE:
            # What a failed task left in the process is not trusted with the next; an interrupted one is ending anyway.
            self._workers.end()
        self.refresh()

    def _worker_ended(self, worker_id: str, status: int | None) -> None:
        """Enter what a worker said last, then plan again what it did not finish."""
        for found in [found for found in self._open if found.task.worker == worker_id]:
            if self._listen(found, is_last=True):
                continue
            how = f"worker {worker_id} ended" + ("" if status is None else f" with {_status_words(status)}")
            words = last_words(self._context.workspace.worker(worker_id)) if status not in (-9, -15, 0) else ""
            reason = f"{how}: {words}" if words else how
            if self._workers.was_ended_for_memory(status):
                reason = f"the kernel ended worker {worker_id}: the machine had no memory left"
                tighten(self._context, found.task)
            _put_away(found.task)
            with self._context.store.transaction() as transaction:
                close_assignment(transaction, found.task.id, "lost", status)
                if status in (0, None) and not found.has_started:
                    continue  # it went idle just as the task was given; the task is due again
                self._plan_again(transaction, found.task, status, reason)
        self.refresh()

    def _plan_again(self, transaction: Transaction, task: AssignmentRecord, status: int | None, reason: str) -> None:
        """Plan a lost task again; a full disk that left no room for a message is told by the exit status alone."""
        is_full = status == WorkerExit.DISK_FULL
        if task.kind == "train" and is_full:
            recover.run_ended(self._context, transaction, task.subject, {"exit": int(WorkerExit.DISK_FULL)})
        elif task.kind == "train":
            recover.run_crashed(self._context, transaction, task.subject, reason)
        elif task.kind == "evaluate" and is_full:
            conclude.wait_for_space(self._context, transaction, task.subject)
        elif task.kind == "evaluate":
            conclude.retry_or_give_up(self._context, transaction, task.subject, reason)

    def _repeat_control(self) -> None:
        """Ask the worker for what is wanted of its run, again and again: it skips requests from before its start."""
        now = self._context.now()
        if now - self._controlled_at < CONTROL_SECONDS:
            return
        self._controlled_at = now
        for found in self._open:
            if found.task.kind != "train":
                continue
            folder, fence = Path(found.task.folder), found.task.fence
            with self._context.store.transaction() as transaction:
                wanted = queue.get_run(transaction, found.task.subject).wanted
                requested = steering.requested(transaction, found.task.subject)
            for request in requested:
                send_control(folder, request.kind, id=fence, request=request.model_dump(mode="json"))
            if wanted is not None:
                send_control(folder, "stop" if wanted in ("stop", "skip") else "pause", id=fence)

    def _has_begun(self, found: _Open) -> bool:
        self._listen(found, is_last=True)
        return found.has_started

    def _tell(self, task: AssignmentRecord, messages: list[ingest.Message]) -> None:
        if self._context.on_message is None:
            return
        for message in messages:
            self._context.on_message(task.subject, message)


def _put_away(task: AssignmentRecord) -> None:
    """Remove the folder of an ended preparation, which left its tokens beside the rows; others' folders are records."""
    if task.kind == "prepare":
        retire(Path(task.folder))


def _offset(transaction: Transaction, task: AssignmentRecord, present: int = 0) -> int:
    table = {"train": t.runs, "evaluate": t.evaluations}.get(task.kind)
    if table is None:
        return present
    return int(transaction.scalar(select(table.c.offset).where(table.c.id == task.subject)))


def _why(finished: dict[str, Any]) -> str:
    return str(finished.get("what") or finished.get("reason") or f"exit {finished['exit']}")


def _status_words(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
