"""Plain text and Markdown to blocks of paragraphs, one record each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stoker.data.reading.source import Record

MIN_BLOCK_CHARS, MAX_BLOCK_CHARS = 400, 4000


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
