"""Benchmarks: frozen items and the scorer that marks them, `benchmarks/NAME.jsonl` with an optional `NAME.toml`.

A line holds prompt (or messages) and answer, and may hold category, id and meta (what a task's own scorer needs).
The header may set scorer, method, system, description and licence, and bring solved examples to show before a question:
`[[examples]]` or the file that `shots_from` names. An item is never changed or skipped: a line that can't be used is an
error that names it.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stoker.data.findings import FileRefused, RowProblem
from stoker.data.formats.recognise import convert
from stoker.data.reading.readers import open_file, read_records
from stoker.data.reading.source import Record
from stoker.data.rows import Row
from stoker.durable import sha256_file
from stoker.errors import DataError
from stoker.spec.lab import IntakeSpec

SCORERS = ("exact", "normalised", "number", "f1", "nll", "syllo")
METHODS = ("generation", "likelihood", "likelihood-normalised")
_HEADER_KEYS = frozenset({"scorer", "description", "system", "licence", "method", "shots_from"})


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
    """The items in file order; `sha256` is that of the items file. `examples` may be shown before a question.

    By "likelihood" nothing is generated: the likeliest of an item's options (meta `choices`) is the answer.
    """

    name: str
    scorer: str
    items: list[Item]
    sha256: str
    description: str = ""
    examples: list[Item] = field(default_factory=list)
    method: Literal["generation", "likelihood", "likelihood-normalised"] = "generation"


def _records(path: Path, spec: IntakeSpec) -> Iterator[Record]:
    with tempfile.TemporaryDirectory() as scratch:
        for source in open_file(path, path.name, spec, Path(scratch)).sources:
            yield from read_records(source, spec)


def read_benchmark(path: Path) -> Benchmark:
    """Read a benchmark; DataError names the file and line of the first thing that is wrong."""
    header = _read_header(path.with_suffix(".toml"))
    items = _read_items(path, header.get("system"))
    return Benchmark(
        path.stem, header.get("scorer", "normalised"), items, sha256_file(path), header.get("description", ""),
        _examples(path, header), header.get("method", "generation"),
    )  # fmt: skip


def _examples(path: Path, header: dict[str, Any]) -> list[Item]:
    if "shots_from" in header:
        source = path.parent / header["shots_from"]
        if not source.is_file():
            raise DataError(f"{path.with_suffix('.toml')}: shots_from = {header['shots_from']!r}: no such file",
                            "it is relative to the benchmark", "mend that line")  # fmt: skip
        return _read_items(source, header.get("system"))
    try:
        return [_item(value, place, header.get("system")) for place, value in enumerate(header.get("examples", ()), 1)]
    except RowProblem as problem:
        raise _error(path.with_suffix(".toml"), 0, f"an example: {problem.reason}", problem.remedy) from None


def _read_items(path: Path, system: str | None) -> list[Item]:
    spec = IntakeSpec()
    items: list[Item] = []
    lines: dict[str, int] = {}
    try:
        for record in _records(path, spec):
            if record.problem is not None:
                raise record.problem
            item = _item(record.value, record.line, system)
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
    return items


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        header = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}", "a benchmark's header is TOML", "mend the line named") from None
    for key, value in header.items():
        if key == "examples" and isinstance(value, list):
            continue
        if key not in _HEADER_KEYS or not isinstance(value, str):
            known = ", ".join(sorted(_HEADER_KEYS))
            raise DataError(f"{path}: {key} = {value!r}", f"a header holds strings named {known}", "mend that line")
    if header.get("scorer", "exact") not in SCORERS:
        raise DataError(
            f"{path}: scorer = {header['scorer']!r} is not known", f"scorers are {', '.join(SCORERS)}", "choose one"
        )
    if header.get("method", "generation") not in METHODS:
        raise DataError(
            f"{path}: method = {header['method']!r} is not known", f"methods are {', '.join(METHODS)}", "choose one"
        )
    return header


def _item(value: Any, line: int, system: str | None) -> Item:
    if not isinstance(value, dict):
        raise RowProblem("not-object", f"the item is {value!r}"[:100])
    record: Mapping[str, Any] = value
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
    return Item(
        id=str(value.get("id") or row.id),
        row=row,
        answer=row.answer(),
        category=None if category is None else str(category),
        meta=meta,
    )


def _error(path: Path, line: int, what: str, remedy: str) -> DataError:
    return DataError(f"benchmark {path.name}, line {line}: {what}", "every item of a benchmark counts", remedy)
