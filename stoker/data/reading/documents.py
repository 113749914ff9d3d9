"""One JSON document to records: an array, an object that holds the rows, columns of equal length, or a single row.

An array is read element by element from a memory map, so its size is no matter; an object is parsed whole.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from stoker.data.findings import FileRefused
from stoker.data.formats.recognise import is_known_shape
from stoker.data.reading.limits import EXCERPT_BYTES, not_too_deep, too_long
from stoker.data.reading.lines import BOM
from stoker.data.reading.source import Record

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_WRAPPED = frozenset({"row_idx", "row", "truncated_cells"})


def read_json(path: Path, name: str, max_row_bytes: int) -> Iterator[Record]:
    """Yield every row of the document; FileRefused when it is broken anywhere, with the line."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = len(BOM) if data[: len(BOM)] == BOM else 0
        if data[start : start + 4096].lstrip()[:1] == b"[":
            yield from _Array(data, name, max_row_bytes).records(data.find(b"[", start))
        else:
            yield from _object(data[start:], name, max_row_bytes)


class _Array:
    """Walks the elements of an array that begins at `[`."""

    def __init__(self, data: mmap.mmap, name: str, max_row_bytes: int) -> None:
        self._data, self._name, self._max_row_bytes = data, name, max_row_bytes
        self._line, self._counted = 1, 0
        self._num_rows = 0

    def records(self, begin: int) -> Iterator[Record]:
        depth, start, gap = 0, 0, begin + 1
        for token in _TOKEN.finditer(self._data, begin):
            character = token[0][:1]
            if character in b"[{":
                depth += 1
                if depth == 2:
                    start = token.start()
                    yield from self._between(gap, start, is_last=False)
            elif character in b"]}":
                depth -= 1
                if depth == 1:
                    gap = token.end()
                    yield self._element(start, gap)
                elif depth == 0:
                    if character != b"]":
                        raise self._broken("the array ends with another bracket", token.start())
                    yield from self._between(gap, token.start(), is_last=True)
                    self._refuse_rest(token.end())
                    return
        raise self._half()

    def _element(self, start: int, end: int) -> Record:
        line = self._line_at(start)
        self._num_rows += 1
        if end - start > self._max_row_bytes:
            return too_long("row", line, end - start, self._max_row_bytes, self._data[start : start + EXCERPT_BYTES])
        raw = self._data[start:end]
        try:
            return not_too_deep(line, orjson.loads(raw), raw)
        except orjson.JSONDecodeError as error:
            raise self._broken(error.msg, start + error.pos) from None

    def _between(self, start: int, end: int, *, is_last: bool) -> Iterator[Record]:
        """Check what stands between two elements: one comma, or elements that are neither objects nor arrays."""
        gap = self._data[start:end]
        if not is_last and self._num_rows and gap.strip() == b",":
            return
        before = b"0" if self._num_rows else b""
        after = b"" if is_last else b"0"
        try:
            values = orjson.loads(b"[" + before + gap + after + b"]")
        except orjson.JSONDecodeError as error:
            raise self._broken(error.msg, start + max(0, error.pos - 1 - len(before))) from None
        values = values[len(before) : len(values) - len(after)]
        self._num_rows += len(values)
        for value in values:
            yield Record(self._line_at(start), value, None, orjson.dumps(value))
        if is_last and not self._num_rows:
            raise FileRefused(f"{self._name} is an empty array", "a file needs at least one row", "write the rows")

    def _refuse_rest(self, end: int) -> None:
        rest = self._data[end : end + 4096].strip()
        if rest:
            raise self._broken("something follows the array", end)

    def _line_at(self, position: int) -> int:
        self._line += self._data[self._counted : position].count(b"\n")
        self._counted = position
        return self._line

    def _broken(self, error: str, position: int) -> FileRefused:
        if error.startswith("unexpected end of data") and position >= len(self._data) - 1:
            return self._half()
        line = self._data[: min(position, len(self._data))].count(b"\n") + 1
        return broken_document(self._name, error, line)

    def _half(self) -> FileRefused:
        line = self._data[:].count(b"\n") + 1
        return half_a_file(self._name, line, "it stops inside the JSON document")


def _object(data: bytes, name: str, max_row_bytes: int) -> Iterator[Record]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if is_cut(error, data):
            raise half_a_file(name, data.count(b"\n") + 1, "it stops inside the JSON document") from None
        raise broken_document(name, error.msg, error.lineno) from None
    if (rows := _one_array(document)) is not None:
        spans = _element_spans(data)
    elif (rows := _gathered(document)) is not None:
        spans = iter(())
    elif is_known_shape(document):
        yield _sized(1, document, data, max_row_bytes)
        return
    else:
        raise _no_rows(document, name)
    line = 1
    for value in rows:
        line, raw = next(spans, (line, b"")) if isinstance(value, dict | list) else (line, b"")
        if isinstance(value, dict) and "row" in value and value.keys() <= _WRAPPED:
            value = value["row"]
        yield _sized(line, value, raw or orjson.dumps(value), max_row_bytes)


def _one_array(document: Mapping[str, Any]) -> list[Any] | None:
    """Return the rows of an object that holds exactly one array and is no row itself."""
    arrays = [value for value in document.values() if isinstance(value, list)]
    return list(arrays[0]) if len(arrays) == 1 and arrays[0] and not is_known_shape(document) else None


def _gathered(document: Mapping[str, Any]) -> list[Any] | None:
    """Return the rows of columns, {"question": [...], "answer": [...]}, or of records by key; None when it is neither."""
    arrays = {key: value for key, value in document.items() if isinstance(value, list)}
    if _are_columns(document, arrays):
        return [dict(zip(arrays, cells, strict=True)) for cells in zip(*arrays.values(), strict=True)]
    return _records_by_key(document)


def _no_rows(document: Mapping[str, Any], name: str) -> FileRefused:
    arrays = [key for key, value in document.items() if isinstance(value, list)]
    found = ", ".join(arrays) if arrays else f"keys {', '.join(list(document)[:12]) or 'none'}"
    return FileRefused(
        f"{name} is one JSON object that holds {len(arrays)} arrays ({found})",
        "rows are one array, an object that holds exactly one array, columns of equal length, or one object a line",
        "write the rows as one array",
        line=1,
    )


def _are_columns(document: Mapping[str, Any], arrays: Mapping[str, list[Any]]) -> bool:
    """Tell columns ({"question": [...], "answer": [...]}) from a row whose values happen to be lists."""
    if len(arrays) < 2 or len(arrays) != len(document) or not is_known_shape(document):
        return False
    return len({len(column) for column in arrays.values()}) == 1 and not _is_row_of_lists(arrays)


def _is_row_of_lists(arrays: Mapping[str, list[Any]]) -> bool:
    return all(value and isinstance(value[0], dict) and "role" in value[0] for value in arrays.values())


def _records_by_key(document: Mapping[str, Any]) -> list[Any] | None:
    """Return the rows of {"id": row, ...} or of {"column": {"id": cell, ...}, ...}, None when it is neither."""
    values = list(document.values())
    if not values or not all(isinstance(value, dict) for value in values):
        return None
    if all(is_known_shape(value) for value in values):
        return values
    keys = list(values[0])
    if is_known_shape(document) and keys and all(list(value) == keys for value in values):
        return [{column: cells[key] for column, cells in document.items()} for key in keys]
    return None


def _element_spans(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the line and the bytes of each object or array directly inside the first array of valid JSON."""
    depth = start = counted = 0
    line, is_in_rows = 1, False
    for token in _TOKEN.finditer(data):
        character = data[token.start()]
        if character in b"[{":
            depth += 1
            if depth == 2 and character == 0x5B:
                is_in_rows = True
            elif is_in_rows and depth == 3:
                start = token.start()
        elif character in b"]}":
            depth -= 1
            if is_in_rows and depth == 2:
                line += data.count(b"\n", counted, start)
                counted = start
                yield line, data[start : token.end()]
            elif is_in_rows and depth == 1:
                return


def _sized(line: int, value: Any, raw: bytes, max_bytes: int) -> Record:
    if len(raw) > max_bytes:
        return too_long("row", line, len(raw), max_bytes, raw)
    return not_too_deep(line, value, raw)


def is_cut(error: orjson.JSONDecodeError, data: bytes) -> bool:
    return error.msg.startswith("unexpected end of data") or error.pos >= len(data.rstrip())


def broken_document(name: str, error: str, line: int) -> FileRefused:
    return FileRefused(
        f"{name} is not JSON: {error} (line {line})",
        "a .json file is one array of objects; one object a line is JSONL; NaN and lone surrogates are neither",
        f"mend line {line}",
        line=line,
    )


def half_a_file(name: str, line: int, what: str) -> FileRefused:
    return FileRefused(
        f"{name} is half a file: {what} (line {line})",
        "a file is taken whole or not at all",
        "copy the file again, completely",
        line=line,
    )
