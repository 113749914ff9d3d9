"""The SQLite files of the inference API: opening them, and telling a lost or damaged one from one that is only busy.

Several processes write them (the server, commands), each in short IMMEDIATE transactions. The journal mode is the
store's: versions of SQLite that can corrupt a WAL database with two writers do without (`stoker.store.engine`).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from stoker.errors import StoreLost
from stoker.store.engine import journal_mode

BUSY_SECONDS = 15.0


def open_database(path: Path, schema: str, version: int, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the file for writing, with its tables; a file that is not there is made. StoreLost when it is damaged."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    with damage_told(path):
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute(f"PRAGMA journal_mode = {journal_mode()}")
            connection.execute("PRAGMA synchronous = FULL")
            with transaction(connection):
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                _check_version(path, found, version)
                if found == 0:
                    for statement in schema.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {version}")
        except BaseException:
            connection.close()
            raise
    return connection


def open_reading(path: Path, version: int, *, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the file for reading. Not `mode=ro`: a reader may have to roll back a writer that was killed."""
    with damage_told(path):
        connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=busy_seconds, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = ON")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                raise StoreLost(f"{path} is empty", "its tables are gone", "put it back from a copy, or move it away")
            _check_version(path, found, version)
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A write transaction that begins IMMEDIATE, so that the busy timeout holds for all of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a damaged file into StoreLost; a busy one or a full disk stays what it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise StoreLost(
                f"{path} is damaged ({error})",
                "it can't be read as it should",
                "put it back from a copy, or move it away",
            ) from error
        raise


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether SQLite found the file itself wrong."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such table" in str(error)


def is_busy(error: BaseException) -> bool:
    """Tell whether another process held the file for longer than was waited."""
    return isinstance(error, sqlite3.Error) and _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 for a mistake found before SQLite was asked."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _check_version(path: Path, found: int, known: int) -> None:
    if found > known:
        raise StoreLost(
            f"{path} has schema {found}", f"this Stoker knows {known}", "use the newer Stoker that wrote it"
        )
