"""From bytes to records: JSONL line by line, one JSON document, or blocks of plain text.

Lines end at \\n alone (U+2028 is legal inside JSON), JSON is strict, and a line or a nesting beyond the limits becomes
a problem of its own row. What the records mean is formats' business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from stoker.data.findings import FileRefused, RowProblem
from stoker.data.formats.recognise import is_known_shape
from stoker.data.reading.lines import BOM, read_lines
from stoker.data.reading.sniff import MEGABYTE, Kind
from stoker.data.reading.strict_json import MAX_DEPTH, is_too_deep
from stoker.spec.lab import IntakeSpec

MIN_BLOCK_CHARS, MAX_BLOCK_CHARS = 400, 4000

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')


class Record(NamedTuple):
    """One input row: a JSON value, or the problem that kept it from being one. `raw` is for the excerpt."""

    line: int
    value: Any
    problem: RowProblem | None
    raw: bytes


def read_records(path: Path, name: str, kind: Kind, spec: IntakeSpec) -> Iterator[Record]:
    """Yield every input row of a file in order; FileRefused when the file as a whole is broken."""
    max_bytes = int(spec.max_line_megabytes * MEGABYTE)
    if kind == "jsonl":
        return read_jsonl(path, name, max_bytes)
    if kind == "json":
        return read_json(path, name, max_bytes)
    return read_text(path)


def read_jsonl(path: Path, name: str, max_line_bytes: int) -> Iterator[Record]:
    """Yield one record per line that is not blank. A last line cut in the middle refuses the file: it is half copied."""
    with path.open("rb") as file:
        for number, line, num_bytes in read_lines(file, max_line_bytes):
            if num_bytes > len(line):
                reason = f"the line has {num_bytes:,} bytes, the limit is {max_line_bytes:,}"
                yield Record(number, None, RowProblem("line-too-long", reason), line)
                continue
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if not line.strip():
                    continue
                if not line.endswith(b"\n") and _is_cut(error, line):
                    raise _half_a_file(name, number, f"line {number} stops in the middle of a row") from None
                yield Record(number, None, RowProblem("not-json", _json_reason(error)), line)
                continue
            yield _checked(number, value, line)


def read_json(path: Path, name: str, max_row_bytes: int) -> Iterator[Record]:
    """Yield the elements of a JSON array, of the one array an object holds, or a single row."""
    data = path.read_bytes().removeprefix(BOM)
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if _is_cut(error, data):
            raise _half_a_file(name, data.count(b"\n") + 1, "it stops inside the JSON document") from None
        raise FileRefused(
            f"{name} is not JSON: {_json_reason(error)}",
            "a .json file is one array of objects; one object a line is JSONL; NaN and lone surrogates are neither",
            f"mend line {error.lineno}",
            line=error.lineno,
        ) from None
    rows = _rows_of(document, name)
    if rows is None:
        yield _sized(1, document, data, max_row_bytes)
        return
    spans = _element_spans(data, rows is not document)
    line = start = end = 0
    for value in rows:
        if isinstance(value, dict | list):
            line, start, end = next(spans)
        else:
            line, start, end = line or 1, 0, 0
        yield _sized(line, value, data[start:end] or orjson.dumps(value), max_row_bytes)


def read_text(path: Path) -> Iterator[Record]:
    """Yield blocks of paragraphs as {"text": ...}: at least MIN_BLOCK_CHARS where there are, never over MAX_BLOCK_CHARS."""
    block: list[str] = []
    first_line, num_chars, number, is_line_start = 1, 0, 0, True
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        while piece := file.readline(MAX_BLOCK_CHARS):
            number += is_line_start
            is_line_start = piece.endswith("\n")
            is_blank = not piece.strip()
            if (is_blank and num_chars >= MIN_BLOCK_CHARS) or num_chars + len(piece) > MAX_BLOCK_CHARS:
                yield from _text_record(first_line, block)
                block, num_chars = [], 0
            if not block:
                if is_blank:
                    continue
                first_line = number
            block.append(piece.replace("\r\n", "\n"))
            num_chars += len(piece)
    yield from _text_record(first_line, block)


def _text_record(line: int, pieces: list[str]) -> Iterator[Record]:
    text = "".join(pieces).strip()
    if text:
        yield Record(line, {"text": text}, None, text[:1024].encode())


def _sized(line: int, value: Any, raw: bytes, max_bytes: int) -> Record:
    if len(raw) > max_bytes:
        reason = f"the row has {len(raw):,} bytes, the limit is {max_bytes:,}"
        return Record(line, None, RowProblem("line-too-long", reason), raw[:1024])
    return _checked(line, value, raw)


def _checked(line: int, value: Any, raw: bytes) -> Record:
    """Return the record with a problem when its nesting is too deep."""
    if is_too_deep(value, raw.count(b"{") + raw.count(b"[")):
        return Record(line, None, RowProblem("too-deep", f"nested deeper than {MAX_DEPTH} levels"), raw)
    return Record(line, value, None, raw)


def _rows_of(document: Any, name: str) -> list[Any] | None:
    """Return the list of rows of a document, None when it is itself one row."""
    if isinstance(document, list):
        if document:
            return document
        raise FileRefused(f"{name} is an empty array", "a file needs at least one row", "write the rows")
    if is_known_shape(document):
        return None
    arrays = {key: value for key, value in document.items() if isinstance(value, list)}
    if len(arrays) == 1 and (rows := next(iter(arrays.values()))):
        return list(rows)
    found = ", ".join(arrays) if arrays else f"keys {', '.join(list(document)[:12]) or 'none'}"
    raise FileRefused(
        f"{name} is one JSON object that holds {len(arrays)} arrays ({found})",
        "rows are one array, an object that holds exactly one array, or one object a line",
        "write the rows as one array",
        line=1,
    )


def _element_spans(data: bytes, is_inside_object: bool) -> Iterator[tuple[int, int, int]]:
    """Yield (line, start, end) of each object or array directly inside the array of rows of valid JSON."""
    array_depth = 2 if is_inside_object else 1
    depth = start = counted = 0
    line, is_in_rows = 1, False
    for token in _TOKEN.finditer(data):
        character = data[token.start()]
        if character in b"[{":
            depth += 1
            if depth == array_depth and character == 0x5B:
                is_in_rows = True
            elif is_in_rows and depth == array_depth + 1:
                start = token.start()
        elif character in b"]}":
            depth -= 1
            if is_in_rows and depth == array_depth:
                line += data.count(b"\n", counted, start)
                counted = start
                yield line, start, token.end()
            elif is_in_rows and depth == array_depth - 1:
                return


def _is_cut(error: orjson.JSONDecodeError, data: bytes) -> bool:
    return error.msg.startswith("unexpected end of data") or error.pos >= len(data.rstrip())


def _json_reason(error: orjson.JSONDecodeError) -> str:
    return f"{error.msg} at line {error.lineno} column {error.colno}"


def _half_a_file(name: str, line: int, what: str) -> FileRefused:
    return FileRefused(
        f"{name} is half a file: {what} (line {line})",
        "a file is taken whole or not at all",
        "copy the file again, completely",
        line=line,
    )
