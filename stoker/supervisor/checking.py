"""Checking a file without taking it: the intake process reads it into a folder that is thrown away.

In a lab the rows are compared with its sealed rows and benchmarks, as they would be; the lab itself is not changed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stoker.data.accept import accept_file
from stoker.data.formats.mapping import load_mappings
from stoker.errors import StokerError, WorkerExit
from stoker.launchers import local
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.registry.lines import tokenizer_ref
from stoker.spec.jobs import JOB, DatasetRef, IntakeJob
from stoker.spec.lab import LabSpec
from stoker.workspace import Workspace

_MODULE = "stoker.data"


def check_file(
    path: Path, spec: LabSpec, workspace: Workspace | None, earlier: tuple[DatasetRef, ...]
) -> dict[str, Any]:
    """Return the summary that the file would have, or of a refused one what stands in its place.

    `refusal` is None, or what, why, remedy and line. Raises StokerError when the process ends without an answer.
    """
    with read_aside(path, spec, workspace, earlier) as (summary, _):
        return summary


@contextlib.contextmanager
def read_aside(
    path: Path, spec: LabSpec, workspace: Workspace | None, earlier: tuple[DatasetRef, ...]
) -> Iterator[tuple[dict[str, Any], DatasetRef]]:
    """Give the summary of `check_file` and the dataset that the file would become; a refused file makes no folder.

    The dataset is there until the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="stoker-check-") as temporary:
        folder = Path(temporary)
        accepted = accept_file(path, folder / "files")
        job = IntakeJob(
            dataset=DatasetRef(id="checked", folder=folder / "dataset", name=path.name),
            file=accepted.path,
            file_sha256=accepted.sha256,
            earlier=earlier,
            benchmarks=tuple(sorted(workspace.benchmarks.glob("*.jsonl"))) if workspace else (),
            intake=spec.intake.model_copy(update={"allow_unproven": True}),
            mappings=load_mappings(workspace.mappings) if workspace else (),
            check=spec.check,
            split=spec.split,
            tokenizer=tokenizer_ref(workspace, spec) if workspace else None,
        )
        yield _run(job, folder), job.dataset


def _run(job: IntakeJob, folder: Path) -> dict[str, Any]:
    (folder / JOB).write_text(job.model_dump_json(), "utf-8")
    process = local.start(_MODULE, folder, log=folder / "log.txt", threads=1, is_training=False)
    try:
        assert process.child is not None
        process.child.wait()
    finally:
        local.kill(process)
    summary: dict[str, Any] = {}
    for message in JournalReader(folder / MESSAGES).read():
        if message["kind"] == "result":
            summary = message["summary"]
        elif message["kind"] == "finished" and message["exit"] == WorkerExit.BAD_CONFIG:
            return _refused(job.dataset.name, message)
    if not summary:
        log = (folder / "log.txt").read_text("utf-8", errors="replace").strip().splitlines()
        raise StokerError(f"reading {job.dataset.name} ended without an answer: {log[-1] if log else 'no word'}")
    return summary | {"refusal": None}


def _refused(name: str, message: dict[str, Any]) -> dict[str, Any]:
    refusal = {key: message.get(key) for key in ("what", "why", "remedy", "line")}
    finding = {
        "code": "refused", "severity": "block", "file": name, "line": refusal["line"],
        "excerpt": refusal["what"], "remedy": refusal["remedy"],
    }  # fmt: skip
    counts = dict.fromkeys(("rows_in", "train", "held_out", "duplicate", "quarantined"), 0)
    return {
        "name": name, "format": None, **counts, "score": 0, "gate": "stop", "deductions": [], "findings": [finding],
        "finding_counts": {"refused": 1}, "notes": [], "reasons": {}, "tokens": None, "refusal": refusal,
    }  # fmt: skip
