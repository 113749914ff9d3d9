"""A lab in a temporary folder that takes files in, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from stoker.data.accept import accept_file
from stoker.data.dataset import Dataset
from stoker.data.intake import take_in
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import ColumnMapping, DatasetRef, IntakeJob
from stoker.spec.lab import CheckSpec, IntakeSpec, SplitSpec


class SmallLab:
    """Takes contents in one after the other, as the supervisor would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.datasets: list[DatasetRef] = []
        self.benchmarks: list[Path] = []
        self.intake = IntakeSpec()
        self.split = SplitSpec()
        self.check = CheckSpec()
        self.mappings: tuple[ColumnMapping, ...] = ()

    def job(self, content: bytes, name: str = "rows.jsonl") -> tuple[IntakeJob, Path]:
        """Accept a file with this content and return its job and the task folder."""
        folder = self.root / f"task{len(list(self.root.glob('task*')))}"
        folder.mkdir(parents=True)
        source = folder / name
        source.write_bytes(content)
        accepted = accept_file(source, self.root / "files")
        dataset_id = "d" + accepted.sha256[:12]
        job = IntakeJob(
            dataset=DatasetRef(id=dataset_id, folder=self.root / "datasets" / dataset_id, name=name),
            file=accepted.path, file_sha256=accepted.sha256, earlier=tuple(self.datasets),
            benchmarks=tuple(self.benchmarks), intake=self.intake, check=self.check, mappings=self.mappings, split=self.split,
        )  # fmt: skip
        return job, folder

    def take(self, content: bytes, name: str = "rows.jsonl") -> Dataset:
        """Take a file in; FileRefused when it is refused."""
        job, folder = self.job(content, name)
        outbox = Outbox(folder)
        try:
            take_in(job, folder, outbox)
        finally:
            outbox.finished(WorkerExit.DONE)
        self.datasets.append(job.dataset)
        return Dataset(job.dataset.folder)

    def take_rows(self, rows: Sequence[Any], name: str = "rows.jsonl") -> Dataset:
        return self.take(b"".join(orjson.dumps(row) + b"\n" for row in rows), name)
