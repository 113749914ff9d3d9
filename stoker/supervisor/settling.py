"""Which files of the inbox are whole: those whose size and mtime stood still for the settling time.

A copy under way fires file events from its first byte, so events only say when to look. Files that arrive together
are taken together, in the order of their names: a settled file waits a little for its neighbours. Pure: it is told
what a scan saw and the time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_IGNORED_SUFFIXES = (".part", ".tmp", "~", ".crdownload", ".swp", ".filepart")


@dataclass(frozen=True)
class Seen:
    """One file as a scan saw it."""

    path: Path
    size: int
    modified_ns: int


def scan(inbox: Path) -> tuple[list[Seen], dict[Path, str]]:
    """Return the files of the inbox and its subfolders, and the paths that can't be read with the reason.

    Hidden and temporary names are left alone; linked folders are not followed.
    """
    seen: list[Seen] = []
    unreadable: dict[Path, str] = {}
    for path in _walk(inbox, unreadable):
        try:
            status = path.stat()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                unreadable[path] = error.strerror or str(error)
            continue
        if not os.access(path, os.R_OK):
            unreadable[path] = "Permission denied"
        elif path.is_file():
            seen.append(Seen(path, status.st_size, status.st_mtime_ns))
        else:
            unreadable[path] = "not a regular file"
    return seen, unreadable


class Settling:
    """Remembers since when each file has stood still."""

    def __init__(self) -> None:
        self._since: dict[Path, tuple[Seen, float]] = {}

    def whole(self, seen: list[Seen], now: float, settle_seconds: float) -> list[Path]:
        """Return the files to take now, by name; [] while a neighbour that arrived with them is still growing."""
        self._since = {file.path: self._entry(file, now) for file in seen}
        ages = {path: now - since for path, (_, since) in self._since.items()}
        settled = [path for path, age in ages.items() if age >= settle_seconds]
        is_alone = len(settled) == len(ages)
        waited_long = any(ages[path] >= 2 * settle_seconds for path in settled)
        if not settled or not (is_alone or waited_long):
            return []
        return sorted(settled, key=lambda path: (path.name, str(path)))

    def _entry(self, file: Seen, now: float) -> tuple[Seen, float]:
        known = self._since.get(file.path)
        return known if known is not None and known[0] == file else (file, now)


def _walk(folder: Path, unreadable: dict[Path, str]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            unreadable[folder] = error.strerror or str(error)
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.endswith(_IGNORED_SUFFIXES):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), unreadable)
        elif not (entry.is_symlink() and Path(entry.path).is_dir()):
            yield Path(entry.path)
