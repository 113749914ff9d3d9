"""The warm worker: one process per lab that takes the line's tasks one after the other.

Each task given is an `assignments` row that names its place in the worker's list, written before the list is appended
to: after a crash between the two, the list is short by one and the task is given again; never twice. A worker is known
by its folder's process (command line) or its card, and outlives the supervisor.
"""

from __future__ import annotations

import signal
from pathlib import Path

from sqlalchemy import func, insert, select, update

from stoker.launchers import local
from stoker.locks import is_same_process
from stoker.mailbox import worker_box
from stoker.mailbox.journal import JournalReader
from stoker.store import tables as t
from stoker.store.records import AssignmentRecord
from stoker.store.store import Transaction, set_fields
from stoker.supervisor.context import Context
from stoker.supervisor.memory import num_memory_kills

MODULE = "stoker.worker"
END_GRACE_SECONDS = 20.0
_MEGABYTE = 1 << 20


class Workers:
    """The lab's worker, alive or not."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.id: str | None = None
        self._process: local.Process | None = None
        self._baseline_bytes = 0
        self._memory_kills = 0

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def process(self) -> local.Process | None:
        return self._process

    def start(self) -> str:
        """Start a worker unless one lives; return its id. It takes tasks from the moment its folder is there.

        Call it only while no task is open: an ended worker is forgotten here.
        """
        if self.is_alive and self.id is not None:
            return self.id
        self.collect_end()
        spec = self._context.spec
        with self._context.store.transaction() as transaction:
            number = transaction.next_number(t.workers)
            worker_id = f"w{number}"
            transaction.execute(
                insert(t.workers).values(id=worker_id, number=number, state="alive", created=transaction.now)
            )
        folder = self._context.workspace.worker(worker_id)
        folder.mkdir(parents=True, exist_ok=True)
        threads = spec.train.threads
        process = local.start(
            MODULE,
            folder,
            "--idle-seconds",
            str(spec.worker.idle_seconds),
            log=folder / worker_box.WORKER_LOG,
            threads=threads if isinstance(threads, int) else None,
        )
        self._adopt(worker_id, process)
        return worker_id

    def reattach(self) -> None:
        """Find the worker that an earlier supervisor left; end all but the newest."""
        with self._context.store.transaction() as transaction:
            rows = transaction.rows(
                select(t.workers.c.id).where(t.workers.c.state == "alive").order_by(t.workers.c.number)
            )
        for row in rows:
            process = self._find(row.id)
            if process is None:
                self._record_end(row.id, None)
                continue
            if self._process is not None and self.id is not None:
                local.stop(self._process, END_GRACE_SECONDS)
                self._record_end(self.id, None)
            self._adopt(row.id, process)

    def give(self, assignment: AssignmentRecord) -> None:
        """Append a task to its worker's list, unless it stands there already."""
        folder = self._context.workspace.worker(assignment.worker)
        if num_given(folder) <= assignment.task_index:
            worker_box.give_task(folder, Path(assignment.folder))

    def collect_end(self) -> tuple[str, int | None] | None:
        """Return (worker, exit status) once the worker has ended, and forget it; None while it lives or is none."""
        if self._process is None or self.id is None or self._process.is_alive():
            return None
        ended = (self.id, self._process.exit_status())
        self._record_end(*ended)
        self.id, self._process = None, None
        return ended

    def end(self, grace_seconds: float = END_GRACE_SECONDS) -> None:
        """End the worker and wait for it; a task it still has is ended with a checkpoint if time allows."""
        if self._process is None or self.id is None:
            return
        local.stop(self._process, grace_seconds)

    def note_memory(self) -> None:
        """Take the memory after the first whole cycle as what this worker needs; growth is counted from there."""
        if self._process is not None and not self._baseline_bytes:
            self._baseline_bytes = self._process.memory_bytes()

    def has_grown(self) -> bool:
        """Tell whether the worker's memory grew by more than the setting allows."""
        if self._process is None or not self._baseline_bytes:
            return False
        growth = self._process.memory_bytes() - self._baseline_bytes
        return growth > self._context.spec.worker.growth_megabytes * _MEGABYTE

    def was_ended_for_memory(self, status: int | None) -> bool:
        """Tell whether the kernel ended the last worker for want of memory: killed, and counted by the kernel meanwhile."""
        return status == -signal.SIGKILL and num_memory_kills() > self._memory_kills

    def _adopt(self, worker_id: str, process: local.Process) -> None:
        self.id, self._process, self._baseline_bytes = worker_id, process, 0
        self._memory_kills = num_memory_kills()
        with self._context.store.transaction() as transaction:
            set_fields(transaction, t.workers, worker_id, pid=process.pid, started_at=process.started_at)

    def _find(self, worker_id: str) -> local.Process | None:
        folder = self._context.workspace.worker(worker_id)
        card = worker_box.read_card(folder)
        if card is not None and is_same_process(card.pid, card.started_at):
            return local.Process(card.pid, card.started_at)
        found = local.find(MODULE, folder)
        return found[0] if found else None

    def _record_end(self, worker_id: str, status: int | None) -> None:
        with self._context.store.transaction() as transaction:
            set_fields(transaction, t.workers, worker_id, state="ended", exit=status, ended_at=transaction.now)


def assign(
    transaction: Transaction, worker_id: str, kind: str, subject: str, folder: Path, fence: int
) -> AssignmentRecord:
    """Enter a task for a worker; `Workers.give` hands it over after the commit."""
    a = t.assignments
    index = int(transaction.scalar(select(func.count()).select_from(a).where(a.c.worker == worker_id)))
    transaction.execute(
        insert(a).values(
            worker=worker_id, task_index=index, kind=kind, subject=subject, folder=str(folder), fence=fence,
            state="given", time=transaction.now,
        )
    )  # fmt: skip
    row = transaction.first(select(a).where(a.c.worker == worker_id, a.c.task_index == index))
    assert row is not None
    return AssignmentRecord.of(row)


def open_assignments(transaction: Transaction) -> list[AssignmentRecord]:
    """Return the tasks that were given and have not ended, in order."""
    a = t.assignments
    return [
        AssignmentRecord.of(row) for row in transaction.rows(select(a).where(a.c.state == "given").order_by(a.c.id))
    ]


def close_assignment(transaction: Transaction, assignment_id: int, state: str, exit: int | None = None) -> None:
    """Record that a task finished, or was lost with its worker."""
    a = t.assignments
    transaction.execute(update(a).where(a.c.id == assignment_id).values(state=state, exit=exit))


def num_given(folder: Path) -> int:
    """Return how many tasks stand in a worker's list."""
    reader: JournalReader = worker_box.task_reader(folder)
    return sum(1 for record in reader.read() if record.get("folder") != worker_box.EXIT_TASK)


def last_words(folder: Path, num_lines: int = 3) -> str:
    """Return the end of a worker's log, for the reason of a crash."""
    try:
        data = (folder / worker_box.WORKER_LOG).read_bytes()[-4096:]
    except OSError:
        return ""
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return " / ".join(lines[-num_lines:])
