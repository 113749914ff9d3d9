"""One accepted file to one dataset folder: read, check, split, publish. `python -m stoker.data FOLDER` runs this.

Row conservation is asserted before anything is published: every input row has one ledger record and one state.
Canonical rows wait in a spool file between the two passes, so memory holds only their shingles.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from stoker.data.benchmarks import read_benchmark
from stoker.data.dataset import Dataset
from stoker.data.findings import FileRefused, RowProblem, excerpt
from stoker.data.formats.keys import KNOWN_SHAPES
from stoker.data.formats.recognise import Shape, convert
from stoker.data.ledger import LedgerEntry
from stoker.data.publish import Found, publish_dataset
from stoker.data.reading.readers import Opened, open_file, read_records
from stoker.data.reading.source import Record
from stoker.data.rows import TRAINED_KINDS, Row
from stoker.data.sealing.index import Index, IndexContent
from stoker.data.sealing.shingles import ShingleBuilder, find_boilerplate, system_prompt
from stoker.data.sealing.split import Split, split_rows
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import IntakeJob

SPOOL = "canonical.jsonl"
NUM_FIRST_FINDINGS = 10
_PHASE_ROWS = 20_000
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")


@dataclass
class Reading:
    """What the first pass found: the ledger so far, and for each unique valid row its place in it.

    `member` is the file of a zip that is being read.
    """

    notes: list[str] = field(default_factory=list)
    member: str = ""
    entries: list[LedgerEntry] = field(default_factory=list)
    entry_of_row: list[int] = field(default_factory=list)
    is_kept: list[bool] = field(default_factory=list)  # for preference training, row for row with `entry_of_row`
    formats: Counter[str] = field(default_factory=Counter)
    unused_keys: Counter[str] = field(default_factory=Counter)
    placeholders: Counter[str] = field(default_factory=Counter)
    num_placeholder_rows: int = 0
    systems: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    first_places: dict[str, int] = field(default_factory=dict)
    shingles: ShingleBuilder = field(default_factory=ShingleBuilder)


def take_in(job: IntakeJob, folder: Path, outbox: Outbox) -> dict[str, Any]:
    """Publish the dataset of a job and return its summary; FileRefused (or another UserError) publishes nothing."""
    name = job.dataset.name
    opened = open_file(job.file, name, job.intake, folder)
    earlier = [Index(dataset.folder, dataset.name) for dataset in job.earlier]
    benchmarks = [read_benchmark(path) for path in job.benchmarks]
    spool = folder / SPOOL
    try:
        outbox.phase("read")
        reading = _read(job, opened, spool, outbox)
        _refuse_if_nothing_is_left(reading, name)
        outbox.phase("compare", 0, len(reading.entry_of_row))
        content = _index_content(reading, job)
        split = split_rows(content, earlier, benchmarks, job.split)
        if split.too_small and not all(reading.is_kept) and not _can_be_proven_otherwise(job):
            raise _too_small(name, split, job)
        outbox.phase("publish", 0, len(reading.entries))
        found = Found(reading.entries, reading.entry_of_row, reading.is_kept, spool, **_facts(reading))
        return publish_dataset(job, found, content, split)
    finally:
        spool.unlink(missing_ok=True)


def _read(job: IntakeJob, opened: Opened, spool: Path, outbox: Outbox) -> Reading:
    reading = Reading(notes=list(opened.notes))
    with spool.open("wb") as file:
        for source in opened.sources:
            reading.member = source.member if len(opened.sources) > 1 else ""
            for record in read_records(source, job.intake):
                try:
                    row, shape = _row_of(record)
                except RowProblem as problem:
                    _quarantine(reading, record, problem)
                else:
                    _add(reading, row, shape, file)
                if len(reading.entries) % _PHASE_ROWS == 0:
                    outbox.phase("read", len(reading.entries))
    return reading


def _row_of(record: Record) -> tuple[Row, Shape]:
    if record.problem is not None:
        raise record.problem
    return convert(record.value, record.line)


def _quarantine(reading: Reading, record: Record, problem: RowProblem) -> None:
    if problem.code == "unknown-keys":
        reading.keys.update(map(str, record.value))
    entry = LedgerEntry(record.line, None, "quarantined", problem.code, problem.reason, member=reading.member)
    entry.remedy, entry.excerpt = problem.remedy, excerpt(record.raw)
    reading.entries.append(entry)


def _add(reading: Reading, row: Row, shape: Shape, spool: Any) -> None:
    reading.formats[shape.format] += 1
    if shape.unused:
        reading.unused_keys.update(shape.unused)
    place = len(reading.entries)
    if (first := reading.first_places.setdefault(row.id, place)) != place:
        reason = f"the same row is on line {reading.entries[first].line} (row {first + 1})"
        reading.entries.append(
            LedgerEntry(row.line, row.id, "duplicate", "duplicate-in-file", reason, member=reading.member)
        )
        return
    reading.entry_of_row.append(place)
    reading.is_kept.append(row.kind not in TRAINED_KINDS)
    reading.entries.append(LedgerEntry(row.line, row.id, "train", member=reading.member))
    record = orjson.dumps(row.to_json(), option=orjson.OPT_APPEND_NEWLINE)
    spool.write(record)
    if b"{{" in record:
        _note_placeholders(reading, record)
    if (system := system_prompt(row)) is not None:
        reading.systems[system] += 1
    reading.shingles.add(row)


def _note_placeholders(reading: Reading, record: bytes) -> None:
    names = set(_PLACEHOLDER.findall(record.decode()))
    reading.placeholders.update(names)
    reading.num_placeholder_rows += bool(names)


def _index_content(reading: Reading, job: IntakeJob) -> IndexContent:
    whole, prompts = reading.shingles.finish()
    entries = [reading.entries[place] for place in reading.entry_of_row]
    repeated = [system for system, count in reading.systems.items() if count > 1]
    return IndexContent(
        ids=np.array([int(entry.row or "0", 16) for entry in entries], dtype=np.uint64),
        lines=np.array([entry.line for entry in entries], dtype=np.int64),
        whole=whole,
        prompts=prompts,
        boilerplate=find_boilerplate(whole, job.split.boilerplate_share, repeated),
        prompt_boilerplate=find_boilerplate(prompts, job.split.boilerplate_share, repeated),
    )


def _refuse_if_nothing_is_left(reading: Reading, name: str) -> None:
    """Raise FileRefused when no row is valid, with the first findings."""
    if reading.entry_of_row:
        return
    entries = reading.entries
    if not entries:
        raise FileRefused(f"{name} holds no rows", "a file needs at least one row", "write the rows")
    codes = Counter(entry.code for entry in entries)
    counted = ", ".join(f"{count} x {code}" for code, count in codes.most_common())
    first = entries[0]
    if codes["unknown-keys"] == len(entries):
        found = ", ".join(key for key, _ in reading.keys.most_common(12)) or "none"
        refusal = FileRefused(
            f"no row of {name} has known keys; found: {found}", f"known: {KNOWN_SHAPES}", first.remedy, line=first.line
        )
    else:
        what = f"none of the {len(entries)} rows of {name} can be trained on: {counted}"
        refusal = FileRefused(what, f"line {first.line}: {first.reason}", first.remedy, line=first.line)
    refusal.findings = [
        f"line {entry.line}: {entry.code}: {entry.reason}\n    {entry.excerpt}"
        for entry in entries[:NUM_FIRST_FINDINGS]
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


def _facts(reading: Reading) -> dict[str, Any]:
    """Return the format and the notes of a file, for its summary."""
    formats = [name for name, _ in reading.formats.most_common()]
    notes = reading.notes
    if reading.num_placeholder_rows:
        names = ", ".join("{{" + name + "}}" for name, _ in reading.placeholders.most_common(6))
        notes.append(
            f"{reading.num_placeholder_rows} rows hold unfilled placeholders ({names}); they train as they are"
        )
    if reading.unused_keys:
        notes.append(f"keys not used: {', '.join(sorted(reading.unused_keys)[:20])}")
    return {"format": formats[0] if len(formats) == 1 else "mixed: " + ", ".join(formats), "notes": notes}
