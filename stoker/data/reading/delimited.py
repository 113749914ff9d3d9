"""CSV and its relatives: which delimiter, is there a header, and one record per data row with the line it starts on.

Fields may be quoted and hold line breaks. An unclosed quote would swallow the rest of the file into one field: then the
file is refused, with the line where the field began. A row with more or fewer fields than the header is a problem of its
own. Cells of the columns that hold lists in JSON elsewhere (`messages`, `tools`, ...) are parsed as JSON.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from stoker.data.findings import FileRefused, RowProblem
from stoker.data.reading.source import Record
from stoker.data.reading.strict_json import parse_inner

DELIMITERS = (",", "\t", ";", "|")
JSON_COLUMNS = frozenset({"messages", "conversations", "conversation", "tools", "history", "chosen", "rejected"})
_SAMPLE_ROWS = 20
_SAMPLE_CHARS = 1 << 16
_MAX_NAME_CHARS = 64


def find_delimiter(head: str, is_whole: bool) -> tuple[str, list[str]] | None:
    """Return the delimiter of a text's beginning and the fields of its first line, or None when it is no table.

    A table has a first line of at least two different names, and rows that nearly all have as many fields.
    """
    found: list[tuple[float, int, str, list[str]]] = []
    for delimiter in DELIMITERS:
        rows = _sample(head, delimiter, is_whole)
        if not rows or len(rows[0]) < 2 or not _are_names(rows[0]):
            continue
        fitting = sum(len(row) == len(rows[0]) for row in rows[1:])
        share = fitting / max(1, len(rows) - 1)
        if share >= 0.8 or len(rows) == 1:
            found.append((share, len(rows[0]), delimiter, rows[0]))
    if not found:
        return None
    _, _, delimiter, names = max(found, key=lambda one: one[:2])
    return delimiter, names


def read_delimited(path: Path, name: str, delimiter: str, max_row_bytes: int) -> Iterator[Record]:
    """Yield one record per row after the header, {column: cell}."""
    csv.field_size_limit(max_row_bytes)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            names = _header(next(reader, []), name)
        except csv.Error as error:
            raise _unreadable(name, 1, str(error), max_row_bytes) from None
        line = reader.line_num + 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise _unreadable(name, line, str(error), max_row_bytes) from None
            if cells is None:
                return
            if cells:
                yield _record(line, names, cells)
            line = reader.line_num + 1


def _record(line: int, names: Sequence[str], cells: list[str]) -> Record:
    raw = orjson.dumps(cells)
    if len(cells) != len(names):
        reason = f"{len(cells)} fields, and the header has {len(names)}"
        return Record(line, None, RowProblem("ragged-row", reason), raw)
    try:
        value: dict[str, Any] = {name: _cell(name, cell) for name, cell in zip(names, cells, strict=True)}
    except RowProblem as problem:
        return Record(line, None, problem, raw)
    return Record(line, value, None, raw)


def _cell(name: str, cell: str) -> Any:
    if name in JSON_COLUMNS and cell.lstrip()[:1] in ("[", "{"):
        return parse_inner(cell, "not-json", f"column {name}")
    return cell


def _header(names: list[str], name: str) -> list[str]:
    cleaned = [one.strip() for one in names]
    repeated = sorted({one for one in cleaned if cleaned.count(one) > 1})
    if repeated:
        shown = ", ".join(repr(one) for one in repeated[:5])
        raise FileRefused(
            f"{name}: the header names {shown} twice", "each column has a name of its own", "rename one", line=1
        )
    return cleaned


def _unreadable(name: str, line: int, error: str, max_row_bytes: int) -> FileRefused:
    if "field larger" in error or "unexpected end of data" in error:
        return FileRefused(
            f"{name}: a field of the row on line {line} does not end"
            + (f" within {max_row_bytes:,} bytes" if "larger" in error else ""),
            "a quote that is opened is closed; an open one swallows all rows after it",
            f'close the quote on line {line} (a quote inside a field is written twice: "")',
            line=line,
        )
    return FileRefused(
        f"{name}: line {line} is not delimited text: {error}",
        'quotes stand around a whole field, and a quote inside one is written twice: ""',
        f"mend line {line}",
        line=line,
    )


def _sample(head: str, delimiter: str, is_whole: bool) -> list[list[str]]:
    """Return the first rows that are surely whole; [] when they can't be read."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, strict=is_whole):
            rows += [row] if row else []
            if len(rows) > _SAMPLE_ROWS:
                return rows[:_SAMPLE_ROWS]
    except csv.Error:
        return rows
    return rows if is_whole else rows[:-1]


def _are_names(cells: Sequence[str]) -> bool:
    names = [cell.strip() for cell in cells]
    return all(name and len(name) <= _MAX_NAME_CHARS and "\n" not in name for name in names) and len(set(names)) > 1
