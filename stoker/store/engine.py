"""Connections to the store's SQLite file with the pragmas Stoker relies on.

SQLite before 3.51.3 (3.50.7, 3.44.6) can corrupt a WAL database when two connections write and checkpoint at once
(https://sqlite.org/wal.html#walresetbug), so those versions run with journal_mode=TRUNCATE. Every transaction of the
writer begins IMMEDIATE: a deferred one that writes later ignores the busy timeout.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, StaticPool

# On an overloaded machine a process can hold the lock, unscheduled, for longer than the usual five seconds.
BUSY_TIMEOUT_MILLISECONDS = 30_000


def has_wal_bug(version: tuple[int, ...]) -> bool:
    """Tell whether this SQLite can corrupt a WAL database."""
    if version >= (3, 51, 3) or version < (3, 7, 0):
        return False
    return not ((3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0))


def journal_mode(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    return "TRUNCATE" if has_wal_bug(version) else "WAL"


def writer_engine(path: Path) -> Engine:
    """Return the engine of the lab's one writer: a single connection, durable commits."""
    engine = create_engine(
        f"sqlite:///{path}", poolclass=StaticPool, connect_args={"check_same_thread": False}, json_serializer=_dump
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        _prepare(connection)
        connection.execute(f"PRAGMA journal_mode = {journal_mode()}")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reader_engine(path: Path) -> Engine:
    """Return an engine that can't change anything. Not `mode=ro`: a reader may have to roll back a crashed writer."""
    engine = create_engine(f"sqlite:///file:{path}?mode=rw&uri=true", poolclass=NullPool, json_serializer=_dump)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        _prepare(connection)
        connection.execute("PRAGMA query_only = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _prepare(connection: sqlite3.Connection) -> None:
    # pysqlite's own transaction control would begin them deferred; SQLAlchemy's "begin" event does it instead.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}")
    connection.execute("PRAGMA foreign_keys = ON")


def _dump(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
