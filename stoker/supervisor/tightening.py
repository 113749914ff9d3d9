"""After the kernel ended a worker for want of memory, its run goes on with each step split into twice as many parts.

What is trained stays the same; the number stands in the run's job file, so that it holds for every later start.
"""

from __future__ import annotations

from pathlib import Path

from stoker.durable import write_atomic
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.spec.jobs import JOB, TrainJob
from stoker.store.records import AssignmentRecord
from stoker.supervisor.context import Context

MOST_PARTS = 1024


def tighten(context: Context, task: AssignmentRecord) -> None:
    """Double the parts of a run's steps and tell it; other tasks are only tried again."""
    folder = Path(task.folder)
    if task.kind != "train" or not (folder / JOB).is_file():
        return
    job = TrainJob.model_validate_json((folder / JOB).read_bytes())
    before = max(_parts_so_far(folder), job.least_accumulation)
    parts = min(2 * before, MOST_PARTS)
    write_atomic(folder / JOB, job.model_copy(update={"least_accumulation": parts}).model_dump_json(indent=2).encode())
    with context.store.transaction() as transaction:
        text = f"{task.subject} ran out of memory: it goes on with each step in {parts} parts instead of {before}"
        transaction.event("warn", "recovery.memory-tightened", text, run=task.subject, before=before, parts=parts)


def _parts_so_far(folder: Path) -> int:
    """Return how many parts the run's last stretch split a step into."""
    reader = JournalReader(folder / MESSAGES)
    parts = 1
    while records := reader.read():
        parts = next((int(one["accumulation"]) for one in reversed(records) if one["kind"] == "plan"), parts)
    return parts
