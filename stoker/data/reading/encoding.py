"""Which encoding a text file is in, and its UTF-8 copy.

UTF-8 is proven by decoding every byte, UTF-16 and UTF-32 by their mark or their zero bytes. A legacy code page can't be
proven: the file is refused with a preview of what the likely ones make of it, and a person names one (`intake.encoding`).
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import BinaryIO

from charset_normalizer import from_bytes

from stoker.data.findings import FileRefused
from stoker.data.reading.lines import BOM
from stoker.durable import disk_full_named
from stoker.spec.lab import IntakeSpec

_BLOCK = 256 << 10  # a larger block falls out of the cache: three times as slow
_GUESS_BYTES = 32 << 10
_PREVIEW_CHARS = 60
_USUAL_PAGES = ("cp1252", "cp1250", "cp1251")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def as_utf8(path: Path, name: str, spec: IntakeSpec, target: Path) -> tuple[Path, str]:
    """Return where the text is in UTF-8, `path` itself or `target`, and the encoding it was in.

    FileRefused when it is in none that can be told, or holds what its encoding does not allow.
    """
    with path.open("rb") as file:
        head = file.read(_GUESS_BYTES)
        encoding = _marked(head)
        if encoding is None:
            if b"\0" in head:
                raise _zero_byte(name, head)
            file.seek(0)
            wrong = _first_wrong_byte(file)
            if wrong is None:
                return path, "utf-8"
            if spec.encoding == "auto":
                raise _not_utf8(file, name, wrong)
            encoding = spec.encoding
    with disk_full_named(target, 0):
        _transcode(path, name, encoding, target)
    return target, encoding


def _marked(head: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if head.startswith(BOM) or len(head) < 4:
        return None
    sample = head[: len(head) // 2 * 2]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.1 * half:
        return "utf-16-be"
    return None


def _transcode(path: Path, name: str, encoding: str, target: Path) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with path.open("rb") as source, target.open("wb") as file:
        while True:
            block = source.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
                data = text.encode()
            except UnicodeError as error:
                raise FileRefused(
                    f"{name} is not {encoding}: {error.args[-1]} at or after line {line}",
                    "every byte must have a meaning in the file's encoding",
                    "name the right one as intake.encoding, or convert the file to UTF-8",
                    line=line,
                ) from None
            line += text.count("\n")
            file.write(data)
            if not block:
                return


def _zero_byte(name: str, head: bytes) -> FileRefused:
    offset = head.index(b"\0")
    line = head.count(b"\n", 0, offset) + 1
    what = f"{name} holds a zero byte at offset {offset}"
    return FileRefused(what, "text holds none, so this is another kind of file", "convert it to JSONL", line=line)


def _first_wrong_byte(file: BinaryIO) -> int | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    consumed = 0
    while block := file.read(_BLOCK):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final=len(block) < _BLOCK)
        except UnicodeDecodeError as error:
            return consumed - pending + error.start
        consumed += len(block)
    return None


def _not_utf8(file: BinaryIO, name: str, offset: int) -> FileRefused:
    line = _line_at(file, offset)
    file.seek(max(0, offset - _GUESS_BYTES // 2))
    sample = file.read(_GUESS_BYTES)
    best = from_bytes(sample).best()
    guess = best.encoding.replace("_", "-") if best is not None else "cp1252"
    file.seek(max(0, offset - _PREVIEW_CHARS // 2))
    around = file.read(_PREVIEW_CHARS)
    refusal = FileRefused(
        f"{name} is not UTF-8: byte offset {offset}, line {line}; it looks like {guess} (a guess: check a word with an accent)",
        "guessing an encoding would change words silently",
        f'set intake.encoding = "{guess}", or convert: iconv -f {guess} -t UTF-8',
        line=line,
    )
    refusal.findings = [_preview(page, around) for page in dict.fromkeys((guess, *_USUAL_PAGES))]
    return refusal


def _preview(encoding: str, around: bytes) -> str:
    text = around.decode(encoding, errors="replace").splitlines()
    return f"as {encoding}: {' '.join(text)}"


def _line_at(file: BinaryIO, offset: int) -> int:
    file.seek(0)
    line = 1
    while offset > 0 and (block := file.read(min(_BLOCK, offset))):
        line += block.count(b"\n")
        offset -= len(block)
    return line
