"""Lines of a binary file: they end at \\n alone, and one that is too long is skipped without being held in memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BOM = codecs.BOM_UTF8
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
    while data := file.readline(max_bytes + 1):
        number += 1
        num_bytes = len(data)
        if num_bytes > max_bytes and not data.endswith(b"\n"):
            data = data[:1024]
            num_bytes += _skip_line(file)
        if number == 1 and data.startswith(BOM):
            data, num_bytes = data[len(BOM) :], num_bytes - len(BOM)
        yield Line(number, data, num_bytes)


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while piece := file.readline(_SKIP_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped
