"""One accepted file to one dataset folder: read, check, split, publish. `python -m stoker.data FOLDER` runs this.

Row conservation is asserted before anything is published: every input row has one ledger record and one state.
Canonical rows wait in a spool file between the two passes, so memory holds only their shingles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoker.data.benchmarks import read_benchmark
from stoker.data.collect import Collected, collect
from stoker.data.dataset import Dataset
from stoker.data.findings import FileRefused
from stoker.data.formats.keys import KNOWN_SHAPES
from stoker.data.publish import publish_dataset
from stoker.data.reading.readers import open_file
from stoker.data.sealing.index import Index
from stoker.data.sealing.split import Split, split_rows
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import IntakeJob

SPOOL = "canonical.jsonl"
NUM_FIRST_FINDINGS = 10


def take_in(job: IntakeJob, folder: Path, outbox: Outbox) -> dict[str, Any]:
    """Publish the dataset of a job and return its summary; FileRefused (or another UserError) publishes nothing."""
    name = job.dataset.name
    opened = open_file(job.file, name, job.intake, folder)
    benchmarks = [read_benchmark(path) for path in job.benchmarks]
    spool = folder / SPOOL
    earlier = [Index(ref.folder, ref.name, is_rolled_back=ref.is_rolled_back) for ref in job.earlier]
    try:
        outbox.phase("read")
        found = collect(job, opened, spool, outbox)
        _refuse_if_nothing_is_left(found, name)
        outbox.phase("compare", 0, len(found.places))
        content = found.index_content(job.split)
        split = split_rows(content, earlier, benchmarks, job.split)
        if split.too_small and not all(found.is_kept) and not _can_be_proven_otherwise(job):
            raise _too_small(name, split, job)
        outbox.phase("publish", 0, len(found.ledger))
        return publish_dataset(job, found, content, split, spool)
    finally:
        spool.unlink(missing_ok=True)
        for index in earlier:
            index.close()


def _refuse_if_nothing_is_left(found: Collected, name: str) -> None:
    """Raise FileRefused when no row is valid, with the first findings."""
    ledger = found.ledger
    if len(found.places):
        return
    if not len(ledger):
        raise FileRefused(f"{name} holds no rows", "a file needs at least one row", "write the rows")
    codes = ledger.count_reasons()
    counted = ", ".join(f"{count} x {code}" for code, count in codes.items())
    first = ledger.entry(0)
    if codes.get("unknown-keys") == len(ledger):
        keys = ", ".join(key for key, _ in found.unknown_keys.most_common(12)) or "none"
        refusal = FileRefused(
            f"no row of {name} has known keys; found: {keys}",
            f"known: {KNOWN_SHAPES}",
            first.told.remedy,
            line=first.line,
        )
    else:
        what = f"none of the {len(ledger)} rows of {name} can be trained on: {counted}"
        refusal = FileRefused(what, f"line {first.line}: {first.told.reason}", first.told.remedy, line=first.line)
    refusal.findings = [
        f"line {entry.line}: {entry.told.code}: {entry.told.reason}\n    {entry.told.excerpt}"
        for entry in map(ledger.entry, range(min(len(ledger), NUM_FIRST_FINDINGS)))
    ]
    raise refusal


def _can_be_proven_otherwise(job: IntakeJob) -> bool:
    """Tell whether a version trained on an unsealed file can still be judged, or whether that was waived."""
    if job.intake.allow_unproven or job.benchmarks:
        return True
    return any(Dataset(dataset.folder).summary["held_out"] > 0 for dataset in job.earlier)


def _too_small(name: str, split: Split, job: IntakeJob) -> FileRefused:
    needed = 2 * job.split.min_clusters
    return FileRefused(
        f"{name} holds {split.num_clusters} clusters of different rows, too few to hold any out",
        f"sealing split.min_clusters = {job.split.min_clusters} needs {needed}, "
        "and the lab has no benchmark and no earlier held-out rows to judge by",
        "add rows, put a benchmark into benchmarks/, or set intake.allow_unproven = true",
    )
