"""An append-only file of JSON lines with one writer and any number of readers that follow it.

A crash can leave half a line at the end. The next writer ends that line before it appends; a reader takes
complete lines only and counts, never hides, lines that are not JSON. Appends reach the page cache, which a
killed process cannot lose; `sync` reaches the device.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from stoker.durable import disk_full_named

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY


class JournalWriter:
    """Appends records to `path`, one JSON object a line; non-finite numbers become null."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._is_torn = False
        self._end_torn_line()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record with a single write call; DiskFull when there is no room."""
        line = orjson.dumps(record, option=_OPTIONS)
        with disk_full_named(self.path, len(line)):
            data = b"\n" + line if self._is_torn else line
            written = self._file.write(data)
            if written != len(data):  # a nearly full disk takes a part without an error
                self._is_torn = self._is_torn or bool(written)
                raise OSError(errno.ENOSPC, f"{written} of {len(data)} bytes written")
            self._is_torn = False

    def sync(self) -> None:
        """Flush to the device."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _end_torn_line(self) -> None:
        if self.path.stat().st_size == 0:
            return
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        if is_torn:
            self._file.write(b"\n")


class JournalReader:
    """Follows `path` from a byte offset; `offset` is where the next read begins."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.num_unreadable = 0

    def read(self, max_bytes: int = 8 << 20) -> list[dict[str, Any]]:
        """Return the complete records after the offset and move it; [] when there is nothing new."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(max_bytes)
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.offset += end
        records = []
        for line in data[:end].split(b"\n"):
            if not line:
                continue
            try:
                records.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                self.num_unreadable += 1
        return records


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record to a journal that this process writes now and then."""
    writer = JournalWriter(path)
    try:
        writer.append(record)
    finally:
        writer.close()
