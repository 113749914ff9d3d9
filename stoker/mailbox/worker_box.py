"""A warm worker's own folder: `worker.json` (who it is), `tasks.jsonl` (folders to work through), `lock`.

The supervisor appends tasks; the worker takes them in order and holds `lock` for its whole life, so that a
supervisor that comes back can tell a living worker from a dead one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from stoker.durable import write_json
from stoker.mailbox.journal import JournalReader, append_record

WORKER, TASKS, WORKER_LOCK, WORKER_LOG = "worker.json", "tasks.jsonl", "lock", "log.txt"
EXIT_TASK = "exit"


@dataclass(frozen=True)
class WorkerCard:
    """Who a worker is; `started_at` guards against reused process ids. `memory_bytes` is the RSS after start-up."""

    pid: int
    started_at: float
    memory_bytes: int


def write_card(folder: Path, card: WorkerCard) -> None:
    write_json(folder / WORKER, asdict(card))


def read_card(folder: Path) -> WorkerCard | None:
    """Return the worker's card, or None while it has not started."""
    try:
        return WorkerCard(**orjson.loads((folder / WORKER).read_bytes()))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None


def give_task(folder: Path, task: Path) -> None:
    """Append a task folder to the worker's list."""
    append_record(folder / TASKS, {"folder": str(task)})


def give_exit(folder: Path) -> None:
    """Ask the worker to end once its tasks are done."""
    append_record(folder / TASKS, {"folder": EXIT_TASK})


def task_reader(folder: Path) -> JournalReader:
    return JournalReader(folder / TASKS)
