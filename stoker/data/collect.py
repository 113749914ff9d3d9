"""The first pass over a file: every record to a canonical row or a quarantine, with what the second pass needs.

Canonical rows go to a spool file, so memory holds only their ledger entries, hashes and shingles.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from stoker.data.checks.checker import Checker
from stoker.data.checks.repair import repaired
from stoker.data.findings import RowProblem, excerpt
from stoker.data.formats.mapping import apply_mapping, mapping_for
from stoker.data.formats.recognise import Shape, convert
from stoker.data.ledger import LedgerEntry
from stoker.data.reading.readers import Opened, read_records
from stoker.data.reading.source import Record
from stoker.data.rows import TRAINED_KINDS, Row
from stoker.data.sealing.edits import EMPTY_KEYS, EditBuilder
from stoker.data.sealing.index import IndexContent
from stoker.data.sealing.shingles import ShingleBuilder, find_boilerplate, row_words, system_prompt
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import IntakeJob
from stoker.spec.lab import SplitSpec

_PHASE_ROWS = 20_000


@dataclass
class Collected:
    """What the first pass found: the ledger so far, and for each unique usable row its place in it."""

    checker: Checker
    notes: list[str] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    entry_of_row: list[int] = field(default_factory=list)
    is_kept: list[bool] = field(default_factory=list)  # for preference training, row for row with `entry_of_row`
    formats: Counter[str] = field(default_factory=Counter)
    unused_keys: Counter[str] = field(default_factory=Counter)
    unknown_keys: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    shingles: ShingleBuilder = field(default_factory=ShingleBuilder)
    edits: EditBuilder = field(default_factory=EditBuilder)
    prompt_edits: EditBuilder | None = None  # where there are benchmarks to compare prompts with
    num_repaired: int = 0
    num_mapped: int = 0

    @property
    def format(self) -> str:
        """The file's format, or "mixed: " and its formats, the most frequent first."""
        formats = [name for name, _ in self.formats.most_common()]
        return formats[0] if len(formats) == 1 else "mixed: " + ", ".join(formats)

    def all_notes(self) -> list[str]:
        """Return what a person should know of how the file was understood."""
        notes = list(self.notes)
        if self.num_repaired:
            notes.append(f"{self.num_repaired} rows were decoded with the wrong encoding and are repaired")
        if self.num_mapped:
            notes.append(f"{self.num_mapped} rows were read by the mapping saved for their columns")
        if self.unused_keys:
            notes.append(f"keys not used: {', '.join(sorted(self.unused_keys)[:20])}")
        return notes

    def index_content(self, split: SplitSpec) -> IndexContent:
        """Return what the sealed split compares."""
        whole, prompts = self.shingles.finish()
        entries = [self.entries[place] for place in self.entry_of_row]
        repeated = [system for system, count in self.systems.items() if count > 1]
        return IndexContent(
            ids=np.array([int(entry.row or "0", 16) for entry in entries], dtype=np.uint64),
            lines=np.array([entry.line for entry in entries], dtype=np.int64),
            whole=whole,
            prompts=prompts,
            boilerplate=find_boilerplate(whole, split.boilerplate_share, repeated),
            prompt_boilerplate=find_boilerplate(prompts, split.boilerplate_share, repeated),
            edits=self.edits.finish(),
            prompt_edits=self.prompt_edits.finish() if self.prompt_edits else EMPTY_KEYS,
        )


def collect(job: IntakeJob, opened: Opened, spool: Path, outbox: Outbox) -> Collected:
    """Read every source of a file; FileRefused when one of them is broken as a whole."""
    with spool.open("wb") as file:
        collector = _Collector(job, file, opened.notes)
        for source in opened.sources:
            collector.member = source.member if len(opened.sources) > 1 else ""
            for record in read_records(source, job.intake):
                collector.take(record)
                if len(collector.found.entries) % _PHASE_ROWS == 0:
                    outbox.phase("read", len(collector.found.entries))
    return collector.found


class _Collector:
    """Takes records one by one. `member` is the file of a zip that is being read, "" elsewhere."""

    def __init__(self, job: IntakeJob, spool: IO[bytes], notes: list[str]) -> None:
        self.found = Collected(Checker(job.dataset.name, job.check), notes=list(notes))
        if job.benchmarks:
            self.found.prompt_edits = EditBuilder(is_number_free=True)
        self.member = ""
        self._spool, self._is_repairing = spool, job.check.repair_mojibake
        self._mappings = {mapping.columns: mapping for mapping in job.mappings}
        self._first_places: dict[str, int] = {}

    def take(self, record: Record) -> None:
        try:
            if record.problem is not None:
                raise record.problem
            row, shape = convert(self._mapped(record.value), record.line)
        except RowProblem as problem:
            self._quarantine(record, problem)
        else:
            self._add(self._repair(row) if self._is_repairing else row, shape)

    def _mapped(self, value: Any) -> Any:
        mapping = mapping_for(value, self._mappings) if isinstance(value, dict) else None
        if mapping is None:
            return value
        self.found.num_mapped += 1
        return apply_mapping(mapping, value)

    def _quarantine(self, record: Record, problem: RowProblem) -> None:
        if problem.code == "unknown-keys":
            self.found.unknown_keys.update(map(str, record.value))
        entry = LedgerEntry(record.line, None, "quarantined", problem.code, problem.reason, member=self.member)
        entry.remedy, entry.excerpt = problem.remedy, excerpt(record.raw)
        self.found.entries.append(entry)

    def _repair(self, row: Row) -> Row:
        content = repaired(row.content)
        if content is row.content:
            return row
        self.found.num_repaired += 1
        return Row.of(row.line, content)

    def _add(self, row: Row, shape: Shape) -> None:
        found = self.found
        found.formats[shape.format] += 1
        if shape.unused:
            found.unused_keys.update(shape.unused)
        place = len(found.entries)
        if (first := self._first_places.setdefault(row.id, place)) != place:
            reason = f"the same row is on line {found.entries[first].line} (row {first + 1})"
            found.entries.append(
                LedgerEntry(row.line, row.id, "duplicate", "duplicate-in-file", reason, member=self.member)
            )
            return
        found.entry_of_row.append(place)
        found.is_kept.append(row.kind not in TRAINED_KINDS)
        found.entries.append(LedgerEntry(row.line, row.id, "train", member=self.member))
        self._spool.write(orjson.dumps(row.to_json(), option=orjson.OPT_APPEND_NEWLINE))
        if (system := system_prompt(row)) is not None:
            found.systems[system] += 1
        prompt, answer = row_words(row)
        found.shingles.add_words(prompt, answer)
        found.edits.add(row, prompt, answer)
        if found.prompt_edits:
            found.prompt_edits.add(row, prompt, ())
        found.checker.add(row, prompt, answer)
