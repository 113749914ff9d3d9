"""Locks between processes, released by the kernel however the holder ends.

`lockf` (POSIX record locks) rather than `flock`: a forked DataLoader worker that outlives its parent keeps a
`flock` and would block the lab for ever. A record lock belongs to the process: it is dropped when the process
closes any descriptor of the file, so each lock file is opened once, here, and nowhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from stoker.errors import Busy


class FileLock:
    """An exclusive lock on `path`; the file holds the holder's process id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once or raise Busy naming the holder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise Busy(f"{self.path} is held by process {holder or 'unknown'}") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()


def is_locked(path: Path) -> bool:
    """Tell whether another process holds the lock on `path`. Never call it from the holder itself."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def process_started_at(pid: int) -> float | None:
    """Return when process `pid` started (seconds since the epoch), or None when it is gone."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def is_same_process(pid: int, started_at: float) -> bool:
    """Tell whether `pid` is still the process that started then: ids are reused."""
    now = process_started_at(pid)
    return now is not None and abs(now - started_at) < 0.05
