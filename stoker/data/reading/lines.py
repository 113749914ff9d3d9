"""Lines of a binary file: they end at \\n alone, and one that is too long is skipped without being held in memory."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

BOM = codecs.BOM_UTF8
BLOCK_BYTES = 1 << 18
_SKIP_BYTES = 1 << 16


class Line(NamedTuple):
    """A line with its number from 1. A line over the limit has only its first bytes in `data`, all in `num_bytes`."""

    number: int
    data: bytes
    num_bytes: int

    @property
    def is_cut(self) -> bool:
        return self.num_bytes > len(self.data)


def read_lines(file: BinaryIO, max_bytes: int) -> Iterator[Line]:
    """Yield every line, its \\n included, without the file's byte order mark."""
    number = 0
    while (line := _read_line(file, max_bytes, number + 1)) is not None:
        number += 1
        yield line


def read_blocks(file: BinaryIO, max_bytes: int) -> Iterator[Line]:
    """Yield whole lines many at a time: `data` has them all, `number` is the first one's. One that is too long is alone."""
    size, number = min(BLOCK_BYTES, max_bytes), 1
    while data := file.read(size):
        end = len(data) if len(data) < size else data.rfind(b"\n") + 1
        file.seek(end - len(data), os.SEEK_CUR)
        if end == 0:
            line = _read_line(file, max_bytes, number)
            assert line is not None
        else:
            data = data[:end].removeprefix(BOM) if number == 1 else data[:end]
            line = Line(number, data, len(data))
        yield line
        number += max(1, _num_ends(line.data))


def _num_ends(data: bytes) -> int:
    """Return how many lines end in `data`; `bytes.count` takes five times as long where they are many."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == 0x0A))


def lines_of(block: Line) -> Iterator[Line]:
    """Yield the lines of a block."""
    if block.is_cut:
        yield block
        return
    *whole, rest = block.data.split(b"\n")
    for number, data in enumerate(whole, block.number):
        yield Line(number, data + b"\n", len(data) + 1)
    if rest:
        yield Line(block.number + len(whole), rest, len(rest))


def _read_line(file: BinaryIO, max_bytes: int, number: int) -> Line | None:
    """Return the line that begins here, None at the end of the file."""
    data = file.readline(max_bytes + 1)
    if not data:
        return None
    num_bytes = len(data)
    if num_bytes > max_bytes and not data.endswith(b"\n"):
        data = data[:1024]
        num_bytes += _skip_line(file)
    if number == 1 and data.startswith(BOM):
        data, num_bytes = data[len(BOM) :], num_bytes - len(BOM)
    return Line(number, data, num_bytes)


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while piece := file.readline(_SKIP_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped
