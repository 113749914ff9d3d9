"""Datasets for tests of what people see of them: taken in for real, in this process, and recorded in the lab's store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import insert

from stoker.data.accept import accept_file
from stoker.data.dataset import Dataset
from stoker.data.intake import take_in
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import DatasetRef, IntakeJob
from stoker.spec.lab import IntakeSpec
from stoker.store import tables as t
from stoker.store.store import Store
from stoker.workspace import Workspace

Take = Callable[..., Dataset]
_COUNTS = ("rows_in", "train", "held_out", "duplicate", "quarantined", "format", "reasons", "notes")


def mails(num: int = 80) -> list[dict[str, str]]:
    """Rows of a classification file: a quarter spam."""
    return [{"question": f"Is mail {n * 7919} spam?", "answer": "ham" if n % 4 else "spam"} for n in range(num)]


def as_lines(rows: Sequence[Any]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def take_rows(
    lab: Workspace, scratch: Path, rows: Sequence[Any], dataset_id: str = "d1", state: str = "ready"
) -> Dataset:
    """Make a dataset of the lab from rows; it is in the state given."""
    source = scratch / "mails.jsonl"
    source.write_bytes(as_lines(rows))
    accepted = accept_file(source, scratch / "files")
    reference = DatasetRef(id=dataset_id, folder=lab.dataset(dataset_id), name=source.name)
    job = IntakeJob(
        dataset=reference, file=accepted.path, file_sha256=accepted.sha256, intake=IntakeSpec(allow_unproven=True)
    )
    task = scratch / f"task-{dataset_id}"
    task.mkdir()
    outbox = Outbox(task)
    summary = take_in(job, task, outbox)
    outbox.finished(WorkerExit.DONE)
    record_dataset(lab, dataset_id, source.name, accepted.sha256, state, **{key: summary[key] for key in _COUNTS})
    return Dataset(reference.folder)


def record_dataset(lab: Workspace, dataset_id: str, name: str, sha256: str, state: str, **fields: Any) -> None:
    """Write a dataset into the lab's store alone."""
    store = Store(lab.store, now=lambda: 1.0)
    store.claim()
    with store.transaction() as transaction:
        transaction.execute(insert(t.files).values(sha256=sha256, name=name, bytes=99, accepted_at=1.0))
        record = {"id": dataset_id, "number": int(dataset_id[1:]), "file_sha256": sha256, "name": name, "created": 1.0}
        transaction.execute(insert(t.datasets).values(**record, state=state, **fields))
    store.close()
