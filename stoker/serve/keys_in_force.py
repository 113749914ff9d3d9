"""The passes that a server goes by: read from `keys.db` whenever that file changed, so a revocation holds within a second.

A look costs two `stat` calls, four times a second at most (and at once for a key that is not known yet). A file that is
busy leaves what was read last; one that is gone or damaged closes the door until it is mended.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from pathlib import Path

from stoker.errors import StoreLost
from stoker.serve.database import is_busy
from stoker.serve.keyring import Keyring, Pass

LOOK_SECONDS = 0.25
_BUSY_SECONDS = 0.05  # a look may happen on the event loop; what is busy is looked at again
_UNSETTLED_NANOSECONDS = 100_000_000  # two commits may share a time stamp of the file system

log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int] | None, ...]


class KeysInForce:
    """Every pass by its id, as `keys.db` has it now."""

    def __init__(self, folder: Path) -> None:
        self._keyring = Keyring(folder)
        self._paths = (self._keyring.path, self._keyring.path.with_name(self._keyring.path.name + "-wal"))
        self._lock = threading.Lock()
        self._passes: dict[str, Pass] = {}
        self._stamp: _Stamp | None = None
        self._looked = float("-inf")
        self._trouble: StoreLost | None = None

    def find(self, id: str) -> Pass | None:
        """Return a pass whatever its state; StoreLost when they can't be read."""
        with self._lock:
            self._look()
            if id not in self._passes:
                self._look(at_once=True)
            return self._passes.get(id)

    def has_keys(self) -> bool:
        """Tell whether a key was ever made in this lab; StoreLost when that can't be known."""
        with self._lock:
            self._look()
            return self._keyring.mark.exists()

    def _look(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._looked >= LOOK_SECONDS:
            self._looked = now
            stamp = self._stamped()
            if stamp != self._stamp:
                self._read(stamp)
        if self._trouble is not None:
            raise self._trouble

    def _read(self, stamp: _Stamp) -> None:
        try:
            passes = self._keyring.passes(busy_seconds=_BUSY_SECONDS)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                self._met(
                    StoreLost(f"{self._keyring.path} can't be read ({error})", "", "see its permissions and its disk")
                )
            return
        except StoreLost as error:
            self._met(error)
            return
        if self._trouble is not None:
            log.warning("%s can be read again", self._keyring.path)
        self._trouble = None
        self._passes = {one.id: one for one in passes}
        newest = max((one[1] for one in stamp if one is not None), default=0)
        self._stamp = stamp if time.time_ns() - newest > _UNSETTLED_NANOSECONDS else None

    def _met(self, error: StoreLost) -> None:
        if self._trouble is None:
            log.error("%s; requests that need a key are refused until it is mended", error)
        self._trouble, self._stamp = error, None

    def _stamped(self) -> _Stamp:
        return tuple(_stat(path) for path in (*self._paths, self._keyring.mark))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
