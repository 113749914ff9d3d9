"""A lab with an open store, a clock that stands still, and rows as the supervisor makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from stoker.durable import publish_folder
from stoker.mailbox.journal import append_record
from stoker.mailbox.messages import MESSAGES
from stoker.spec.lab import LabSpec
from stoker.store import tables as t
from stoker.store.records import DatasetRecord
from stoker.store.series_queries import metrics
from stoker.store.store import Store, Transaction
from stoker.supervisor.context import Context
from stoker.supervisor.intake import record_summary
from stoker.workspace import Workspace


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


class Voice:
    """Writes messages as a worker's outbox does, each on its own, so that nothing stays open."""

    def __init__(self, folder: Path, fence: int = 0) -> None:
        self.folder, self.fence = folder, fence

    def send(self, kind: str, **fields: Any) -> None:
        append_record(self.folder / MESSAGES, {"kind": kind, "time": 1.0, "fence": self.fence, **fields})

    def event(self, severity: str, code: str, text: str, **data: Any) -> None:
        self.send("event", severity=severity, code=code, text=text, data=data)

    def phase(self, name: str) -> None:
        self.send("phase", name=name, done=0, total=0)

    def finished(self, exit: int, reason: str = "", **fields: Any) -> None:
        self.send("finished", exit=int(exit), reason=reason, **fields)


class Lab:
    """What the tests of the supervisor's parts work on."""

    def __init__(self, root: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.workspace = Workspace(root)
        self.workspace.create()
        self.store = Store(self.workspace.store, now=clock.time)
        self.store.claim()
        self.codes: list[str] = []
        self.texts: list[str] = []
        self.store.listeners.append(lambda event: self.codes.append(event.code))
        self.store.listeners.append(lambda event: self.texts.append(event.text))
        self.context = Context(self.workspace, LabSpec(), self.store, clock)

    def spec(self, **sections: dict[str, Any]) -> None:
        self.context.spec = LabSpec.model_validate(sections)

    def dataset(self, number: int = 1, train: int = 8, held_out: int = 2) -> str:
        """Accept a file and make it ready, its job queued; return the dataset's id."""
        sha256 = f"{number:064x}"
        dataset_id = f"d{number:012x}"
        with self.store.transaction() as tx:
            tx.execute(insert(t.files).values(sha256=sha256, name=f"f{number}.jsonl", bytes=1, accepted_at=0.0))
            tx.execute(
                insert(t.datasets).values(
                    id=dataset_id,
                    number=number,
                    file_sha256=sha256,
                    name=f"f{number}.jsonl",
                    state="reading",
                    created=0.0,
                )
            )
            self.ready(tx, tx.first(select(t.datasets).where(t.datasets.c.id == dataset_id)), train, held_out)
        copy = self.workspace.file(sha256)
        copy.mkdir(parents=True)
        (copy / "content").write_bytes(b"{}\n")
        return dataset_id

    def ready(self, transaction: Transaction, row: Any, train: int = 8, held_out: int = 2) -> None:
        """Record that a dataset was read."""
        counts = {"rows_in": train + held_out, "train": train, "held_out": held_out, "duplicate": 0, "quarantined": 0}
        record_summary(transaction, DatasetRecord.of(row), {"format": "chat", **counts})

    def value(self, table: Any, row_id: str, column: str) -> Any:
        with self.store.transaction() as tx:
            return tx.scalar(select(table.c[column]).where(table.c.id == row_id))

    def run(self, run_id: str, column: str = "state") -> Any:
        return self.value(t.runs, run_id, column)

    def steps(self, run_id: str) -> list[tuple[int, float]]:
        with self.store.transaction() as tx:
            return [(step["step"], step["loss"]) for step in metrics(tx.connection, run_id)]

    def outbox(self, run_id: str, fence: int) -> Voice:
        return Voice(self.workspace.run(run_id), fence)

    def judge(self, evaluation_id: str) -> Voice:
        """Return the voice of the worker that evaluates."""
        return Voice(self.workspace.evaluation(evaluation_id))

    def preparer(self, run_id: str) -> Voice:
        """Return the voice of the worker that prepares a run."""
        return Voice(self.workspace.tasks / f"prepare-{run_id}")

    def publish(self, model: str, version: int, datasets: list[str], **more: Any) -> None:
        """Leave a version folder as a worker does."""
        facts = {
            "model": model, "version": version, "method": "full", "weights_sha256": f"{version}" * 64,
            "base": {"name": "tiny", "sha256": "b" * 64}, "datasets": datasets, "steps": 4, **more,
        }  # fmt: skip
        with publish_folder(self.workspace.version(model, version), facts) as staging:
            (staging / "model.safetensors").write_bytes(b"weights")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lab(tmp_path: Path, clock: FakeClock) -> Iterator[Lab]:
    made = Lab(tmp_path / "lab", clock)
    yield made
    made.store.close()
