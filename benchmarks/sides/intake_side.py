"""Stoker's intake, stage by stage over a file, and whole."""

from __future__ import annotations

import gc
import itertools
import json
import resource
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from stoker.data import __main__ as intake_process
from stoker.data.dataset import Dataset
from stoker.data.formats.plain import content_of
from stoker.data.formats.recognise import convert_content
from stoker.data.reading.readers import Chats, open_file, read_chunks
from stoker.data.reading.source import Record
from stoker.data.rows import Content, Row
from stoker.data.sealing.neighbours import find_clusters
from stoker.data.sealing.shingles import ShingleBuilder, find_boilerplate
from stoker.data.tokens.lengths import RowLengths
from stoker.errors import WorkerExit
from stoker.spec.jobs import JOB, DatasetRef, IntakeJob, TokenizerRef
from stoker.spec.lab import IntakeSpec, SplitSpec

_CHUNK_ROWS = 8192


class Stages:
    """Each stage takes what the one before it left."""

    def __init__(self, file: Path, model: Path) -> None:
        self._file = file
        self._lengths = RowLengths(TokenizerRef(name="model", folder=model))
        self._rows: list[Row] = []
        self.num_rows = 0

    def read_lines(self) -> None:
        with self._file.open("rb") as file:
            self.num_rows = sum(1 for _ in file)

    def parse(self) -> None:
        for chunk in self._chunks():
            if isinstance(chunk, Record):
                convert_content(chunk.value)

    def keep_contents(self) -> None:
        """Parse again for the stages that follow; what intake drops after some thousand rows, they need whole."""
        self._contents = [pair for chunk in self._chunks() for pair in _contents_of(chunk)]

    def find_duplicates(self) -> None:
        rows = (Row.of(line, content) for line, content in self._contents)
        self._rows = list({row.id: row for row in rows}.values())
        self._contents = []

    def find_neighbours(self) -> int:
        builder, spec = ShingleBuilder(), SplitSpec()
        for start in range(0, len(self._rows), _CHUNK_ROWS):
            builder.add_rows(self._rows[start : start + _CHUNK_ROWS])
        whole, _ = builder.finish()
        clusters = find_clusters(whole, find_boilerplate(whole, spec.boilerplate_share), spec.similarity)
        return len(clusters) - int(clusters.max(initial=-1)) - 1

    def _chunks(self) -> Iterator[Record | Chats]:
        (source,) = open_file(self._file, self._file.name, IntakeSpec(), self._file.parent).sources
        return read_chunks(source, IntakeSpec())

    def measure(self) -> None:
        for start in range(0, len(self._rows), _CHUNK_ROWS):
            self._lengths.add(self._rows[start : start + _CHUNK_ROWS])


def _contents_of(chunk: Record | Chats) -> Iterable[tuple[int, Content]]:
    if isinstance(chunk, Record):
        return ((chunk.line, convert_content(chunk.value)[0]),)
    return enumerate(map(content_of, chunk.chats), chunk.line)


def run_path(file: Path, model: Path, folder: Path) -> None:
    """Run the stages over a file as intake does, a few thousand rows at a time."""
    lengths, builder, spec = RowLengths(TokenizerRef(name="model", folder=model)), ShingleBuilder(), SplitSpec()
    (source,) = open_file(file, file.name, IntakeSpec(), folder).sources
    gc.set_threshold(200_000)
    seen: set[str] = set()
    rows: list[Row] = []
    contents = (pair for chunk in read_chunks(source, IntakeSpec()) for pair in _contents_of(chunk))
    for row in itertools.starmap(Row.of, contents):
        if row.id in seen:
            continue
        seen.add(row.id)
        rows.append(row)
        if len(rows) == _CHUNK_ROWS:
            builder.add_rows(rows)
            lengths.add(rows)
            rows = []
    builder.add_rows(rows)
    lengths.add(rows)
    whole, _ = builder.finish()
    clusters = find_clusters(whole, find_boilerplate(whole, spec.boilerplate_share), spec.similarity)
    _report(near=len(clusters) - int(clusters.max(initial=-1)) - 1, tokens=lengths.summary()["total"])


def run_whole(file: Path, model: Path, folder: Path) -> None:
    """Be the intake process."""
    job = IntakeJob(
        dataset=DatasetRef(id="d1", folder=folder / "d1", name=file.name), file=file, file_sha256="",
        tokenizer=TokenizerRef(name="model", folder=model),
    )  # fmt: skip
    (folder / JOB).write_text(job.model_dump_json())
    if intake_process.main(folder) != WorkerExit.DONE:
        raise SystemExit((folder / intake_process.REPORT).read_text())
    summary = Dataset(job.dataset.folder).summary
    counts = summary["finding_counts"]
    _report(near=counts.get("near-duplicates", 0), exact=counts.get("repeated-rows", 0), gate=summary["gate"])


def _report(**found: float | str) -> None:
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"megabytes": megabytes, **found}))


if __name__ == "__main__":
    {"run_path": run_path, "run_whole": run_whole}[sys.argv[1]](*map(Path, sys.argv[2:5]))
