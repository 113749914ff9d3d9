"""A store from before incidents keeps its history, and makes no alarm of it."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import insert

from stoker.store import tables as t
from stoker.store.engine import writer_engine
from stoker.store.store import Store
from stoker.supervisor.incidents import enter_events


def test_what_happened_before_incidents_existed_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    engine = writer_engine(path)
    config = Config()
    config.set_main_option("script_location", "stoker.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.exec_driver_sql(
            "INSERT INTO events (time, severity, code, text, data) VALUES (1, 'critical', 'run.failed', 'old', '{}')"
        )
    engine.dispose()
    store = Store(path)
    store.claim()
    with store.transaction() as transaction:
        assert enter_events(transaction, 60.0) == []
        transaction.event("critical", "run.failed", "new", run="r1")
        assert [change.what for change in enter_events(transaction, 60.0)] == ["opened"]
        assert transaction.scalar(t.incidents.select().with_only_columns(t.incidents.c.title)) == "new"
        transaction.execute(insert(t.lab).values(key="other", value=1))
    store.close()
