"""What kind of file this is, told from its bytes: size, encoding, JSON or text. Names only help to say no.

A file that is not UTF-8 is refused as a whole: guessing an encoding would change people's words silently.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import BinaryIO, Literal

import orjson
from charset_normalizer import from_bytes

from stoker.data.findings import FileRefused
from stoker.data.formats.recognise import is_known_shape
from stoker.data.reading.lines import BOM, read_lines
from stoker.spec.lab import IntakeSpec

Kind = Literal["jsonl", "json", "text"]

MEGABYTE = 1 << 20
_BLOCK = 4 * MEGABYTE
_HEAD_LINES = 32
_GUESS_BYTES = 32 << 10
_JSON_HEAD = re.compile(rb"\{\s*[\"'}]|\{\s*$|\[\s*[\[{\"\]]|\[\s*$")
_JSON_NAMES = frozenset({".json", ".jsonl", ".ndjson"})
_TABLE_NAMES = frozenset({".csv", ".tsv", ".xml", ".html", ".htm", ".yaml", ".yml"})
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x28\xb5\x2f\xfd", "zstandard data"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF"),
    (b"GGUF", "a GGUF model"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
)
KNOWN_FORMATS = "JSONL, JSON and plain text are read"


def sniff(path: Path, name: str, spec: IntakeSpec) -> Kind:
    """Return the kind of a file, or raise FileRefused: empty, too large, binary, not UTF-8, not what its name says."""
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
    with path.open("rb") as file:
        head = file.read(_GUESS_BYTES)
        _refuse_binary(head, name)
        file.seek(0)
        _refuse_other_encoding(file, name)
        head = head.removeprefix(BOM).lstrip()
        if not head:
            raise FileRefused(f"{name} holds only white space", "a file needs at least one row", "write the rows")
        file.seek(0)
        return _kind_of(file, head, name, int(spec.max_line_megabytes * MEGABYTE))


def _kind_of(file: BinaryIO, head: bytes, name: str, max_line_bytes: int) -> Kind:
    suffix = Path(name).suffix.lower()
    if not _JSON_HEAD.match(head):
        if suffix in _JSON_NAMES:
            raise FileRefused(
                f"{name}: line 1 is not JSON: {head[:40].decode(errors='replace')!r}",
                "a row is a JSON object, so the file begins with { or [",
                "write one JSON object a line, or name plain text .txt",
                line=1,
            )
        if suffix in _TABLE_NAMES:
            raise FileRefused(f"{name} is a {suffix[1:]} file", KNOWN_FORMATS, "convert it to JSONL")
        return "text"
    if head.startswith(b"["):
        return "json"
    return _lines_or_document(file, max_line_bytes)


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
        return "jsonl" if is_known_shape(only) else "json"
    return "jsonl" if 2 * num_objects >= num_lines and num_objects else "json"


def _refuse_binary(head: bytes, name: str) -> None:
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise FileRefused(f"{name} is {what}", KNOWN_FORMATS, "unpack or convert it to JSONL and drop that")
    for bom, encoding in ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):
        if head.startswith(bom):
            raise _not_utf8(name, 0, 1, encoding)
    if b"\0" in head:
        offset = head.index(b"\0")
        line = head.count(b"\n", 0, offset) + 1
        if offset < 4 and head.count(b"\0") * 3 > len(head):
            raise _not_utf8(name, offset, line, "UTF-16LE" if offset % 2 else "UTF-16BE")
        raise FileRefused(
            f"{name} holds a zero byte at offset {offset}", "text holds none; " + KNOWN_FORMATS, "convert it", line=line
        )


def _refuse_other_encoding(file: BinaryIO, name: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    consumed = 0
    while block := file.read(_BLOCK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final=len(block) < _BLOCK)
        except UnicodeDecodeError as error:
            offset = consumed - pending + error.start
            raise _not_utf8(name, offset, _line_at(file, offset), _guess(file, offset)) from None
        consumed += len(block)


def _line_at(file: BinaryIO, offset: int) -> int:
    file.seek(0)
    line = 1
    while offset > 0 and (block := file.read(min(_BLOCK, offset))):
        line += block.count(b"\n")
        offset -= len(block)
    return line


def _guess(file: BinaryIO, offset: int) -> str:
    file.seek(max(0, offset - _GUESS_BYTES // 2))
    best = from_bytes(file.read(_GUESS_BYTES)).best()
    return best.encoding.replace("_", "-") if best is not None else "windows-1252"


def _not_utf8(name: str, offset: int, line: int, encoding: str) -> FileRefused:
    return FileRefused(
        f"{name} is not UTF-8: byte offset {offset}, line {line}; it looks like {encoding} (a guess: check a word with an accent)",
        "rows are read as UTF-8, and guessing would change words silently",
        f"convert to UTF-8: iconv -f {encoding} -t UTF-8",
        line=line,
    )
