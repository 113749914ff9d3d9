"""The store's writer, its migrations and its identities."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, insert, update
from sqlalchemy.exc import IntegrityError

from stoker.errors import Busy, Damaged, NotAllowed
from stoker.store import tables as t
from stoker.store.engine import has_wal_bug, journal_mode, writer_engine
from stoker.store.migrate import migrate
from stoker.store.records import Event
from stoker.store.store import Store


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "store.db")
    opened.claim()
    yield opened
    opened.close()


def add_dataset(transaction, dataset_id: str = "d1", **counts: int) -> None:
    transaction.execute(insert(t.files).values(sha256=dataset_id * 2, name="a.jsonl", bytes=1, accepted_at=0.0))
    values = {"file_sha256": dataset_id * 2, "name": "a.jsonl", "state": "ready", "created": 0.0, **counts}
    transaction.execute(insert(t.datasets).values(id=dataset_id, number=1, **values))


def test_the_migrations_make_exactly_the_tables_in_code(tmp_path: Path) -> None:
    Store(tmp_path / "store.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), t.metadata) == []
    engine.dispose()


def test_the_schema_named_in_code_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "stoker.store:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == t.SCHEMA


def test_a_newer_schema_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(NotAllowed, match=r"schema 9999.*update Stoker"):
        Store(path)


def test_an_older_store_is_copied_aside_before_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('0000')")
        connection.execute("CREATE TABLE kept (word TEXT)")
        connection.execute("INSERT INTO kept VALUES ('coal')")
    connection.close()
    engine = writer_engine(path)
    with pytest.raises(Exception, match="0000"):
        migrate(engine, path)
    engine.dispose()
    backup = tmp_path / f"store.db.before-{t.SCHEMA}-from-0000"
    copied = sqlite3.connect(backup)
    assert copied.execute("SELECT word FROM kept").fetchall() == [("coal",)]
    copied.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"coal and ashes " * 500)
    with pytest.raises(Damaged, match=r"store\.db: not a database"):
        Store(tmp_path / "store.db")


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [((3, 40, 1), True), ((3, 44, 6), False), ((3, 45, 0), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False)],
)  # fmt: skip
def test_sqlite_with_the_wal_bug_keeps_a_rollback_journal(version: tuple[int, ...], is_affected: bool) -> None:
    assert has_wal_bug(version) is is_affected
    assert journal_mode(version) == ("TRUNCATE" if is_affected else "WAL")


def test_the_writer_runs_with_the_pragmas_it_relies_on(store: Store) -> None:
    with store.transaction() as transaction:
        pragma = {name: transaction.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in (
            "synchronous", "foreign_keys", "busy_timeout", "journal_mode")}  # fmt: skip
    assert pragma == {
        "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000, "journal_mode": journal_mode().lower()
    }  # fmt: skip


def test_a_change_and_its_event_come_together_or_not_at_all(store: Store) -> None:
    heard: list[Event] = []
    store.listeners.append(heard.append)
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.put("key", 1)
        transaction.event("info", "x", "never told")
        raise ZeroDivisionError
    assert heard == []
    with store.transaction() as transaction:
        assert transaction.get("key") is None
        transaction.put("key", {"a": [1, None]})
        transaction.event("warn", "y", "told", run="r1", number=7)
    assert [(event.code, event.run, event.data) for event in heard] == [("y", "r1", {"number": 7})]
    with store.transaction() as transaction:
        assert transaction.get("key") == {"a": [1, None]}


def test_a_writer_whose_lab_was_claimed_by_another_is_refused(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "store.db"), Store(tmp_path / "store.db")
    first.claim()
    second.claim()
    with second.transaction() as transaction:
        transaction.put("key", 2)
    with pytest.raises(Busy, match="claimed by another"), first.transaction() as transaction:
        transaction.put("key", 1)
    first.close()
    second.close()


def test_rows_that_do_not_add_up_never_reach_the_store(store: Store) -> None:
    with pytest.raises(IntegrityError, match="rows_conserved"), store.transaction() as transaction:
        add_dataset(transaction, rows_in=10, train=8, held_out=1)
    with store.transaction() as transaction:
        add_dataset(transaction, rows_in=10, train=8, held_out=1, duplicate=1)
    with pytest.raises(IntegrityError, match="rows_conserved"), store.transaction() as transaction:
        transaction.execute(update(t.datasets).values(train=9))


def test_a_dataset_without_its_file_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError, match="FOREIGN KEY"), store.transaction() as transaction:
        values = {"id": "d1", "number": 1, "file_sha256": "none", "name": "a", "state": "ready", "created": 0.0}
        transaction.execute(insert(t.datasets).values(**values))
