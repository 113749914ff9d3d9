"""The store's one writer.

Whoever holds the lab's lock opens it, claims the next fence, and then changes state only inside `transaction()`: one
BEGIN IMMEDIATE, the change and the event that tells of it together or not at all. A transaction of an older fence is
refused, so a process that lost its lab can't write over its successor. Reads for people are in `reader`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, Executable, Row, Table, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from stoker.errors import Busy
from stoker.store import tables
from stoker.store.engine import writer_engine
from stoker.store.migrate import copy_database, migrate
from stoker.store.records import Event


class Transaction:
    """An open write transaction. Events are told to listeners once it is committed."""

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection, self.now = connection, now
        self.events: list[Event] = []

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        result = self.connection.execute(statement, parameters)
        assert isinstance(result, CursorResult)
        return result

    def first(self, statement: Executable) -> Row[Any] | None:
        return self.connection.execute(statement).first()

    def rows(self, statement: Executable) -> list[Row[Any]]:
        return list(self.connection.execute(statement))

    def scalar(self, statement: Executable) -> Any:
        return self.connection.scalar(statement)

    def next_number(self, table: Table) -> int:
        """Return one more than the largest `number` of a table."""
        return int(self.scalar(select(func.coalesce(func.max(table.c.number), 0)))) + 1

    def put(self, key: str, value: Any) -> None:
        """Set a value of the lab."""
        statement = upsert(tables.lab).values(key=key, value=value)
        self.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": value}))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value of the lab."""
        row = self.first(select(tables.lab.c.value).where(tables.lab.c.key == key))
        return default if row is None else row[0]

    def event(self, severity: str, code: str, text: str, **fields: Any) -> None:
        """Record something that happened; `dataset`, `run`, `evaluation`, `version` are columns, the rest is data."""
        named = {name: fields.pop(name, None) for name in ("dataset", "run", "evaluation", "version")}
        event = Event(severity, code, text, fields.pop("time", self.now), data=fields, **named)
        self.execute(
            insert(tables.events).values(time=event.time, severity=severity, code=code, text=text, data=fields, **named)
        )
        self.events.append(event)


class Store:
    """The writer of the database at `path`. Open it only while holding the lab's lock."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self.fence = 0
        self.listeners: list[Callable[[Event], None]] = []
        self._now = now
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine: Engine = writer_engine(path)
        migrate(self._engine, path)
        self._identity = _identity(path)

    def claim(self) -> int:
        """Take the next fence; transactions of whoever had the lab before are refused from now on."""
        with self._engine.begin() as connection:
            transaction = Transaction(connection, self._now())
            self.fence = int(transaction.get("fence", 0)) + 1
            transaction.put("fence", self.fence)
        return self.fence

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One atomic change; Busy when another process has claimed the lab since."""
        with self._engine.begin() as connection:
            transaction = Transaction(connection, self._now())
            if transaction.get("fence", 0) != self.fence:
                raise Busy(f"{self.path} was claimed by another process")
            yield transaction
        for event in transaction.events:
            for listener in self.listeners:
                listener(event)

    def is_in_place(self) -> bool:
        """Tell whether the path still leads to the file that is open here."""
        return _identity(self.path) == self._identity

    def copy_to(self, path: Path) -> None:
        """Write a whole copy to `path`, atomically."""
        copy_database(self._engine, path)

    def put_back(self) -> None:
        """Write the open database to its path again, whose file was deleted, and open that."""
        self.copy_to(self.path)
        self.path.chmod(0o600)
        self._engine.dispose()
        self._engine = writer_engine(self.path)
        self._identity = _identity(self.path)

    def close(self) -> None:
        self._engine.dispose()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def set_fields(transaction: Transaction, table: Table, key: str, **values: Any) -> None:
    """Update the row whose `id` is `key`; it must exist."""
    result = transaction.execute(update(table).where(table.c.id == key).values(**values))
    assert result.rowcount == 1, f"no row {key} in {table.name}"
