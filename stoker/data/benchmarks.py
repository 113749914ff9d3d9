"""Benchmarks: frozen items and the scorer that marks them, `benchmarks/NAME.jsonl` with an optional `NAME.toml`.

A line holds prompt (or messages) and answer, and may hold category, id, choices (for the scorer of that name), aliases
(other right answers) and meta (what a scorer needs besides). `benchmark_header.py` says what the header may hold. An
item is never changed or skipped: a line that can't be used is an error that names it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stoker.data.benchmark_header import Header, read_header
from stoker.data.findings import FileRefused, RowProblem
from stoker.data.formats.recognise import convert
from stoker.data.reading.readers import open_file, read_records
from stoker.data.reading.source import Record
from stoker.data.rows import Row
from stoker.durable import sha256_file
from stoker.errors import DataError
from stoker.spec.lab import IntakeSpec

_META_KEYS = ("choices", "aliases")


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark. `row` holds the prompt and the gold answer as a conversation."""

    id: str
    row: Row
    answer: str
    category: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The items in file order; `sha256` is that of the items file."""

    name: str
    header: Header
    items: list[Item]
    sha256: str

    @property
    def scorer(self) -> str:
        return self.header.scorer


def _records(path: Path, spec: IntakeSpec) -> Iterator[Record]:
    with tempfile.TemporaryDirectory() as scratch:
        for source in open_file(path, path.name, spec, Path(scratch)).sources:
            yield from read_records(source, spec)


def read_values(path: Path) -> Iterator[Any]:
    """Yield the records of a file of any format that data may have, as they are; DataError for one that can't be read."""
    record = None
    try:
        for record in _records(path, IntakeSpec()):
            if record.problem is not None:
                raise record.problem
            yield record.value
    except RowProblem as problem:
        line = record.line if record is not None else 0
        raise _error(path, line, f"{problem.code}: {problem.reason}", problem.remedy) from None
    except FileRefused as refusal:
        raise DataError(f"benchmark {refusal.what}", refusal.why, refusal.remedy) from None


def read_benchmark(path: Path) -> Benchmark:
    """Read a benchmark; DataError names the file and line of the first thing that is wrong."""
    header = read_header(path)
    spec = IntakeSpec()
    items: list[Item] = []
    lines: dict[str, int] = {}
    try:
        for record in _records(path, spec):
            if record.problem is not None:
                raise record.problem
            item = read_item(record.value, record.line, header.system)
            if item.id in lines:
                raise _error(
                    path, record.line, f"the id {item.id} is on line {lines[item.id]} too", "give each its own"
                )
            lines[item.id] = record.line
            items.append(item)
    except RowProblem as problem:
        raise _error(path, record.line, f"{problem.code}: {problem.reason}", problem.remedy) from None
    except FileRefused as refusal:
        raise DataError(f"benchmark {refusal.what}", refusal.why, refusal.remedy) from None
    if header.scorer == "judge":
        items = [replace(item, meta={"prompt": _last_prompt(item.row), **item.meta}) for item in items]
    benchmark = Benchmark(path.stem, header, items, sha256_file(path))
    _check(path, benchmark, lines)
    return benchmark


def _check(path: Path, benchmark: Benchmark, lines: Mapping[str, int]) -> None:
    """Check the items against what the header promises of them."""
    header = benchmark.header
    if header.sha256 not in ("", benchmark.sha256):
        raise DataError(
            f"benchmark {path.name} is not what was frozen: its SHA-256 begins with {benchmark.sha256[:12]}, not {header.sha256[:12]}",
            "scores on other items do not compare",
            f"put the old file back, or freeze the new one: stoker eval bench --add FILE --name {path.stem} --replace",
        )
    for item in benchmark.items:
        if header.categories and item.category not in header.categories:
            known = ", ".join(header.categories)
            raise _error(path, lines[item.id], f"category {item.category!r} is not in the header", f"one of: {known}")
        if header.scorer == "choice" and not _has_choices(item.meta):
            raise _error(path, lines[item.id], "no options to choose from", 'add "choices": [...] of 2 to 26 texts')


def read_item(value: Any, line: int, system: str) -> Item:
    """Return the item that a record is; RowProblem when it can't be one."""
    if not isinstance(value, dict):
        raise RowProblem("not-object", f"the item is {value!r}"[:100])
    record: Mapping[str, Any] = {key: part for key, part in value.items() if key not in _META_KEYS}
    messages, answer = record.get("messages"), record.get("answer")
    if isinstance(messages, list) and answer is not None:
        record = {**record, "messages": [*messages, {"role": "assistant", "content": answer}]}
    elif "prompt" in record and "answer" in record:
        record = {key: record[key] for key in ("prompt", "answer", "system", "context") if key in record}
    if system and "system" not in record and "messages" not in record:
        record = {**record, "system": system}
    elif system and messages and isinstance(messages[0], dict) and messages[0].get("role") != "system":
        record = {**record, "messages": [{"role": "system", "content": system}, *record["messages"]]}
    try:
        row, _ = convert(dict(record), line)
    except RowProblem as problem:
        if problem.code != "unknown-keys":
            raise
        keys = ", ".join(map(str, value))
        raise RowProblem("no-answer", f"it has {keys or 'nothing'}, but an item needs prompt and answer") from None
    if row.messages is None:
        raise RowProblem("no-answer", "an item needs a prompt and an answer")
    category, meta = value.get("category"), value.get("meta") or {}
    if not isinstance(meta, dict):
        raise RowProblem("wrong-type", f"meta is {meta!r}, not an object"[:100])
    for key in _META_KEYS:
        if key not in value:
            continue
        if not isinstance(value[key], list):
            raise RowProblem("wrong-type", f"{key} is {value[key]!r}, not a list"[:100])
        meta = {**meta, key: value[key]}
    return Item(
        id=str(value.get("id") or row.id),
        row=row,
        answer=row.answer(),
        category=None if category is None else str(category),
        meta=meta,
    )


def _last_prompt(row: Row) -> str:
    messages = row.prompt_messages()
    return str(messages[-1].get("content") or "") if messages else ""


def _has_choices(meta: Mapping[str, Any]) -> bool:
    choices = meta.get("choices")
    return (
        isinstance(choices, list) and 2 <= len(choices) <= 26 and len({str(each) for each in choices}) == len(choices)
    )


def _error(path: Path, line: int, what: str, remedy: str) -> DataError:
    return DataError(f"benchmark {path.name}, line {line}: {what}", "every item of a benchmark counts", remedy)
