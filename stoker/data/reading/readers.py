"""From an accepted file to its records: unpack, find the encoding, tell the kind, and read row by row.

Lines end at \\n alone (U+2028 is legal inside JSON), JSON is strict, and a line or a nesting beyond the limits becomes
a problem of its own row. What the records mean is formats' business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from stoker.data.findings import RowProblem
from stoker.data.formats.plain import PlainChat, decode_line, decode_lines
from stoker.data.reading.columnar import read_columnar
from stoker.data.reading.delimited import read_delimited
from stoker.data.reading.documents import half_a_file, is_cut, read_json
from stoker.data.reading.encoding import as_utf8
from stoker.data.reading.limits import not_too_deep, too_long
from stoker.data.reading.lines import Line, lines_of, read_blocks, read_lines
from stoker.data.reading.plain_text import read_text
from stoker.data.reading.sniff import binary_kind, check_size, sniff
from stoker.data.reading.source import MEGABYTE, Record, Source
from stoker.data.reading.unpack import Member, unpack
from stoker.spec.lab import IntakeSpec

_PROSE = frozenset({".txt", ".md", ".markdown", ".rst", ""})


@dataclass(frozen=True, slots=True)
class Opened:
    """An accepted file, ready to be read: its sources in order, and what a person should know of how it was understood.

    `hashes` has the SHA-256 of each file of a zip by its name there.
    """

    sources: list[Source]
    notes: list[str]
    hashes: dict[str, str]


class Chats(NamedTuple):
    """Plain chats of lines that follow one another; `line` is the first one's."""

    line: int
    chats: Sequence[PlainChat]


def open_file(path: Path, name: str, spec: IntakeSpec, scratch: Path) -> Opened:
    """Tell what a file is; FileRefused when nothing in it can be read. Unpacked and converted copies go to `scratch`."""
    check_size(path, name, spec)
    members = unpack(path, name, spec, scratch)
    sources: list[Source] = []
    notes: list[str] = []
    for number, member in enumerate(members):
        source, encoding = _open(member, spec, scratch / f"utf8-{number}")
        sources.append(source)
        if encoding != "utf-8":
            notes.append(f"{source.name} was read as {encoding}")
    is_named = any(member.is_named for member in members)
    tables = [source for source in sources if is_named or not _is_prose(source)]
    if tables and len(tables) < len(sources):
        left_out = ", ".join(source.member for source in sources if _is_prose(source))
        notes.append(f"not read, as it stands beside data files: {left_out}")
    return Opened(tables or sources, notes, {member.inner: member.sha256 for member in members if member.inner})


def read_records(source: Source, spec: IntakeSpec) -> Iterator[Record]:
    """Yield every input row of a source in order; FileRefused when it is broken as a whole."""
    max_bytes = int(spec.max_line_megabytes * MEGABYTE)
    if source.kind == "jsonl":
        return read_jsonl(source.path, source.name, max_bytes)
    if source.kind == "json":
        return read_json(source.path, source.name, max_bytes)
    if source.kind == "delimited":
        return read_delimited(source.path, source.name, source.delimiter, max_bytes)
    if source.kind == "text":
        return read_text(source.path)
    return read_columnar(source, spec)


def read_chunks(source: Source, spec: IntakeSpec) -> Iterator[Record | Chats]:
    """Yield what `read_records` does, with plain chats of JSONL many at a time."""
    if source.kind == "jsonl":
        return read_jsonl_chunks(source.path, source.name, int(spec.max_line_megabytes * MEGABYTE))
    return read_records(source, spec)


def read_jsonl(path: Path, name: str, max_line_bytes: int) -> Iterator[Record]:
    """Yield one record per line that is not blank. A last line cut in the middle refuses the file: it is half copied."""
    with path.open("rb") as file:
        for line in read_lines(file, max_line_bytes):
            yield from _records_of(line, name, max_line_bytes)


def read_jsonl_chunks(path: Path, name: str, max_line_bytes: int) -> Iterator[Record | Chats]:
    """Yield what `read_jsonl` does, with plain chats many at a time."""
    is_mostly_plain = True
    with path.open("rb") as file:
        for block in read_blocks(file, max_line_bytes):
            chats = decode_lines(block.data) if is_mostly_plain and not block.is_cut else None
            if chats is not None:
                yield Chats(block.number, chats)
                continue
            num_plain = num_lines = 0
            for line in lines_of(block):
                num_lines += 1
                chat = decode_line(line.data) if is_mostly_plain and not line.is_cut else None
                if chat is None:
                    yield from _records_of(line, name, max_line_bytes)
                else:
                    num_plain += 1
                    yield Chats(line.number, (chat,))
            is_mostly_plain = is_mostly_plain and 2 * num_plain >= num_lines


def _records_of(given: Line, name: str, max_line_bytes: int) -> Iterator[Record]:
    """Yield the record of a line, none of a blank one."""
    number, line, num_bytes = given
    if num_bytes > len(line):
        yield too_long("line", number, num_bytes, max_line_bytes, line)
        return
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if not line.strip():
            return
        if not line.endswith(b"\n") and is_cut(error, line):
            raise half_a_file(name, number, f"line {number} stops in the middle of a row") from None
        reason = f"{error.msg} at column {error.colno}"
        yield Record(number, None, RowProblem("not-json", reason), line)
        return
    yield not_too_deep(number, value, line)


def _open(member: Member, spec: IntakeSpec, target: Path) -> tuple[Source, str]:
    kind = binary_kind(member.path, member.name)
    if kind is not None:
        return Source(kind, member.path, member.name, member.inner), "utf-8"
    path, encoding = as_utf8(member.path, member.name, spec, target)
    kind, delimiter = sniff(path, member.name, spec)
    return Source(kind, path, member.name, member.inner, delimiter), encoding


def _is_prose(source: Source) -> bool:
    return source.kind == "text" and Path(source.member or source.name).suffix.lower() in _PROSE
