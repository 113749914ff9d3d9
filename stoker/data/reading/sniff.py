"""What kind of file this is, told from its bytes: JSON, lines of JSON, delimited text, Parquet, Arrow, or plain text.

Names only help to say no, and to tell a table with unknown columns from prose.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import orjson

from stoker.data.findings import FileRefused
from stoker.data.formats.recognise import is_known_shape
from stoker.data.reading.delimited import find_delimiter
from stoker.data.reading.lines import BOM, read_lines
from stoker.data.reading.source import KNOWN_FORMATS, MEGABYTE, Kind
from stoker.spec.lab import IntakeSpec

_HEAD_LINES = 32
_HEAD_BYTES = 64 << 10
_JSON_HEAD = re.compile(rb"\{\s*[\"'}]|\{\s*$|\[\s*[\[{\"\]]|\[\s*$")
_JSON_NAMES = frozenset({".json", ".jsonl", ".ndjson"})
_TABLE_NAMES = frozenset({".csv", ".tsv", ".tab", ".psv"})
_OTHER_NAMES = frozenset({".xml", ".html", ".htm", ".yaml", ".yml", ".ipynb", ".py", ".log"})
_COLUMNAR: tuple[tuple[bytes, Kind], ...] = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "arrow"))
_OTHER_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"GGUF", "a GGUF model"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "a program"),
)


def check_size(path: Path, name: str, spec: IntakeSpec) -> None:
    """FileRefused when a file is empty or over the limit."""
    size = path.stat().st_size
    if size == 0:
        raise FileRefused(f"{name} is empty", "a file needs at least one row", "write the rows and drop it again")
    limit = int(spec.max_file_megabytes * MEGABYTE)
    if size > limit:
        raise FileRefused(
            f"{name} has {size:,} bytes",
            f"intake.max_file_megabytes = {spec.max_file_megabytes:g} allows {limit:,}",
            "split the file, or raise intake.max_file_megabytes",
        )


def binary_kind(path: Path, name: str) -> Kind | None:
    """Return the kind of a columnar file, None for what may be text; FileRefused for other binary kinds."""
    with path.open("rb") as file:
        head = file.read(16)
    for magic, kind in _COLUMNAR:
        if head.startswith(magic):
            return kind
    for magic, what in _OTHER_MAGIC:
        if head.startswith(magic):
            raise FileRefused(f"{name} is {what}", KNOWN_FORMATS, "convert it to JSONL and drop that")
    return None


def sniff(path: Path, name: str, spec: IntakeSpec) -> tuple[Kind, str]:
    """Return the kind of a UTF-8 file, and its delimiter; FileRefused when it is not what its name says."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        is_whole = len(head) < _HEAD_BYTES
        head = head.removeprefix(BOM).lstrip()
        if not head:
            raise FileRefused(f"{name} holds only white space", "a file needs at least one row", "write the rows")
        if _JSON_HEAD.match(head):
            if head.startswith(b"["):
                return "json", ","
            file.seek(0)
            return _lines_or_document(file, int(spec.max_line_megabytes * MEGABYTE)), ","
    return _table_or_text(head.decode(errors="ignore"), name, is_whole)


def _table_or_text(head: str, name: str, is_whole: bool) -> tuple[Kind, str]:
    suffix = Path(name).suffix.lower()
    if suffix in _JSON_NAMES:
        raise FileRefused(
            f"{name}: line 1 is not JSON: {head[:40]!r}",
            "a row is a JSON object, so the file begins with { or [",
            "write one JSON object a line, or name plain text .txt",
            line=1,
        )
    if suffix in _OTHER_NAMES:
        raise FileRefused(f"{name} is a {suffix[1:]} file", KNOWN_FORMATS, "convert it to JSONL, or name text .txt")
    table = find_delimiter(head, is_whole)
    if table is not None and (suffix in _TABLE_NAMES or is_known_shape(dict.fromkeys(table[1]))):
        return "delimited", table[0]
    if suffix in _TABLE_NAMES:
        return "delimited", "\t" if suffix in (".tsv", ".tab") else ","
    return "text", ","


def _lines_or_document(file: BinaryIO, max_line_bytes: int) -> Kind:
    """Tell JSONL from one JSON object by how many of the first lines are whole objects."""
    num_lines = num_objects = num_cut = 0
    only: object = None
    for line in read_lines(file, max_line_bytes):
        num_cut += line.is_cut
        if line.is_cut or not line.data.strip():
            continue
        num_lines += 1
        try:
            only = orjson.loads(line.data)
            num_objects += isinstance(only, dict)
        except orjson.JSONDecodeError:
            pass
        if num_lines == _HEAD_LINES:
            break
    if num_lines == 0:
        return "json" if num_cut == 1 else "jsonl"
    if num_lines == 1 and num_cut == 0 and isinstance(only, dict):
        return "json"
    return "jsonl" if 2 * num_objects >= num_lines and num_objects else "json"
