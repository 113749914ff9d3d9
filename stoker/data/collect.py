"""The first pass over a file: every record to a canonical row or a quarantine, with what the second pass needs.

Canonical rows go to a spool file, so memory holds only their ledger entries, hashes and shingles.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from stoker.data.checks.checker import Checker
from stoker.data.checks.repair import repaired
from stoker.data.findings import FileRefused, RowProblem, excerpt
from stoker.data.formats.mapping import apply_mapping, mapping_for
from stoker.data.formats.plain import content_of
from stoker.data.formats.recognise import Shape, convert
from stoker.data.ledger import Ledger, Told
from stoker.data.reading.readers import Chats, Opened, read_chunks, read_records
from stoker.data.reading.source import MEGABYTE, Record
from stoker.data.rows import TRAINED_KINDS, Row
from stoker.data.sealing.edits import EMPTY_KEYS, EditBuilder
from stoker.data.sealing.index import IndexContent
from stoker.data.sealing.shingles import ShingleBuilder, find_boilerplate, system_prompt
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import IntakeJob, TokenizerRef
from stoker.spec.lab import SplitSpec

if TYPE_CHECKING:
    from stoker.data.tokens.lengths import RowLengths

_PHASE_ROWS = 20_000
_BATCH_ROWS, _BATCH_BYTES = 8192, 16 * MEGABYTE


@dataclass
class Collected:
    """What the first pass found: the ledger so far, and for each unique usable row its place in it."""

    checker: Checker
    notes: list[str] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    place_of_row: array[int] = field(default_factory=lambda: array("Q"))
    is_kept: bytearray = field(default_factory=bytearray)  # for preference training, row for row
    formats: Counter[str] = field(default_factory=Counter)
    unused_keys: Counter[str] = field(default_factory=Counter)
    unknown_keys: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    shingles: ShingleBuilder = field(default_factory=ShingleBuilder)
    edits: EditBuilder = field(default_factory=EditBuilder)
    prompt_edits: EditBuilder | None = None  # where there are benchmarks to compare prompts with
    tokens: dict[str, Any] | None = None  # how long the rows are, as dataset.json says it
    num_repaired: int = 0
    num_mapped: int = 0
    files: list[dict[str, Any]] = field(default_factory=list)  # name, sha256 and rows of each file of a zip

    @property
    def format(self) -> str:
        """The file's format, or "mixed: " and its formats, the most frequent first."""
        formats = [name for name, _ in self.formats.most_common()]
        return formats[0] if len(formats) == 1 else "mixed: " + ", ".join(formats)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """The place in the ledger of each unique usable row."""
        return np.array(self.place_of_row, dtype=np.int64)

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
        repeated = [system for system, count in self.systems.items() if count > 1]
        return IndexContent(
            ids=self.ledger.ids[self.places],
            lines=self.ledger.lines[self.places],
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
            collector.enter(source.member if len(opened.sources) > 1 else "")
            num_before = len(collector.found.ledger)
            read = read_chunks if collector.may_be_plain else read_records
            for chunk in read(source, job.intake):
                num_phases = len(collector.found.ledger) // _PHASE_ROWS
                collector.take(chunk)
                if len(collector.found.ledger) // _PHASE_ROWS > num_phases:
                    outbox.phase("read", len(collector.found.ledger))
            if source.member:
                facts = {"name": source.member, "sha256": opened.hashes[source.member]}
                collector.found.files.append({**facts, "rows": len(collector.found.ledger) - num_before})
        collector.flush()
    _measure(collector, spool)
    return collector.found


def _measure(collector: _Collector, spool: Path) -> None:
    """Take over what was measured in tokens, or measure it anew where a sample was wrong."""
    found, lengths = collector.found, collector.lengths
    if lengths is None:
        return
    if lengths.is_doubted:
        with spool.open("rb") as file:
            lengths = lengths.measured_anew(Row.from_json(orjson.loads(line)) for line in file)
    found.tokens = lengths.summary()
    findings, limit = found.checker.findings, lengths.max_length
    too_long = (
        (row, f"{lengths.longest[row]:,} tokens, at most {limit:,} fit (train.max_length)")
        for row in np.flatnonzero(lengths.longest > limit).tolist()
    )
    for code, rows in (("too-long", too_long), ("template", lengths.refused)):
        for row, reason in rows:
            entry = found.ledger.entry(found.place_of_row[row])
            findings.add(code, entry.line, reason, member=entry.member)


class _Collector:
    """Takes records one by one, and does for many rows at once what can be done so."""

    def __init__(self, job: IntakeJob, spool: IO[bytes], notes: list[str]) -> None:
        self.found = Collected(Checker(job.dataset.name, job.check), notes=list(notes))
        if job.benchmarks:
            self.found.prompt_edits = EditBuilder(prompts_alone=True)
        self._spool, self._is_repairing = spool, job.check.repair_mojibake
        self._mappings = {mapping.columns: mapping for mapping in job.mappings}
        self._first_places: dict[int, int] = {}  # by the number that a row's id is
        self._fresh: list[Row] = []
        self._fresh_lines: list[bytes] = []
        self._num_fresh_bytes = 0
        self.lengths = self._start_measuring(job.tokenizer)

    def flush(self) -> None:
        """Do what is done for many rows at once."""
        rows, lines = self._fresh, self._fresh_lines
        self._fresh, self._fresh_lines, self._num_fresh_bytes = [], [], 0
        if rows:
            self._spool.writelines(lines)
            words = self.found.shingles.add_rows(rows)
            self.found.edits.add_rows(rows, words)
            if self.found.prompt_edits:
                self.found.prompt_edits.add_rows(rows, words)
            self.found.checker.add_rows(rows, words)
            self._add_lengths(rows)

    def _add_lengths(self, rows: list[Row]) -> None:
        if self.lengths is None:
            return
        try:
            self.lengths.add(rows)
        except (MemoryError, FileRefused):
            raise
        except Exception as error:  # noqa: BLE001 - a template may fail in any way; the file comes in without lengths
            self.lengths = None
            self.found.notes.append(f"rows are not measured in tokens: {type(error).__name__}: {error}")

    def _start_measuring(self, ref: TokenizerRef | None) -> RowLengths | None:
        if ref is None:
            return None
        if ref.folder is None:
            self.found.notes.append(
                f"rows are measured in tokens when the first run starts: the tokenizer of {ref.name} is not here yet"
            )
            return None
        from stoker.data.tokens.lengths import RowLengths

        try:
            return RowLengths(ref)
        except Exception as error:  # noqa: BLE001 - the file comes in without; the run says what is wrong
            self.found.notes.append(
                f"rows are not measured in tokens: the tokenizer of {ref.name} can't be read ({error})"
            )
            return None

    def enter(self, member: str) -> None:
        """Begin with a file of a zip, or the only one (""); what is found from now on is in it."""
        self.flush()
        self.member = member
        if member:
            self.found.ledger.begin_member(member)
        self.found.checker.enter(member)

    def take(self, given: Record | Chats) -> None:
        if isinstance(given, Chats):
            self._take_chats(given)
        else:
            self._take_record(given)

    @property
    def may_be_plain(self) -> bool:
        """Tell whether rows are what they are in the file, with no mapping or repair between."""
        return not (self._mappings or self._is_repairing)

    def _take_chats(self, given: Chats) -> None:
        self.found.formats["messages"] += len(given.chats)
        for line, chat in enumerate(given.chats, given.line):
            self._add(Row.of(line, content_of(chat)))

    def _take_record(self, record: Record) -> None:
        try:
            if record.problem is not None:
                raise record.problem
            row, shape = convert(self._mapped(record.value), record.line)
        except RowProblem as problem:
            self._quarantine(record, problem)
        else:
            self._note_shape(shape)
            self._add(self._repair(row) if self._is_repairing else row)

    def _mapped(self, value: Any) -> Any:
        mapping = mapping_for(value, self._mappings) if isinstance(value, dict) else None
        if mapping is None:
            return value
        self.found.num_mapped += 1
        return apply_mapping(mapping, value)

    def _quarantine(self, record: Record, problem: RowProblem) -> None:
        if problem.code == "unknown-keys":
            self.found.unknown_keys.update(map(str, record.value))
        told = Told(problem.code, problem.reason, problem.remedy, excerpt(record.raw))
        self.found.ledger.add(record.line, None, "quarantined", told)

    def _repair(self, row: Row) -> Row:
        content = repaired(row.content)
        if content is row.content:
            return row
        self.found.num_repaired += 1
        return Row.of(row.line, content)

    def _note_shape(self, shape: Shape) -> None:
        self.found.formats[shape.format] += 1
        if shape.unused:
            self.found.unused_keys.update(shape.unused)

    def _add(self, row: Row) -> None:
        found, place, number = self.found, len(self.found.ledger), int(row.id, 16)
        if (first := self._first_places.setdefault(number, place)) != place:
            earlier = found.ledger.entry(first)
            where = f" of {earlier.member}" if earlier.member != self.member else ""
            reason = f"the same row is on line {earlier.line}{where} (row {first + 1})"
            found.ledger.add(row.line, number, "duplicate", Told("duplicate-in-file", reason))
            return
        found.ledger.add(row.line, number, "train")
        found.place_of_row.append(place)
        found.is_kept.append(row.kind not in TRAINED_KINDS)
        if (system := system_prompt(row)) is not None:
            found.systems[system] += 1
        line = orjson.dumps(row.to_json(), option=orjson.OPT_APPEND_NEWLINE)
        self._fresh.append(row)
        self._fresh_lines.append(line)
        self._num_fresh_bytes += len(line)
        if len(self._fresh) == _BATCH_ROWS or self._num_fresh_bytes > _BATCH_BYTES:
            self.flush()
