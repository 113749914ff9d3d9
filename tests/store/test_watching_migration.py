"""A store of the third schema keeps its steps: they become series, and what its runs have cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from stoker.store import series_queries
from stoker.store import tables as t
from stoker.store.engine import writer_engine
from stoker.store.migrate import migrate

NUM_STEPS = 5000


def test_steps_become_series_and_costs(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    engine = writer_engine(path)
    config = Config()
    config.set_main_option("script_location", "stoker.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(t.files.insert().values(sha256="s", name="a.jsonl", bytes=1, accepted_at=0.0))
        row = {"id": "d1", "number": 1, "file_sha256": "s", "name": "a.jsonl", "state": "trained", "created": 0.0}
        connection.execute(t.datasets.insert().values(**row))
        connection.execute(t.jobs.insert().values(id="j1", number=1, dataset="d1", position=1, created=0.0))
        run = {"id": "r1", "number": 1, "job": "j1", "dataset": "d1", "state": "done", "created": 0.0}
        connection.execute(t.runs.insert().values(**run))
        for step in range(1, NUM_STEPS + 1):
            connection.execute(
                text(
                    "INSERT INTO metrics (run, step, loss, tokens, rows, seconds, fence, time) "
                    "VALUES ('r1', :step, :loss, 10, 2, 0.5, :fence, :time)"
                ),
                {
                    "step": step,
                    "loss": None if step == 7 else 1 / step,
                    "fence": 1 + step // 4000,
                    "time": 100.0 + step,
                },
            )
    migrate(engine, path)
    with engine.connect() as connection:
        steps = series_queries.metrics(connection, "r1")
        assert [step["step"] for step in steps] == list(range(1, NUM_STEPS + 1))
        assert (steps[6]["loss"], steps[7]["loss"], steps[7]["tokens"]) == (None, 1 / 8, 10)
        assert connection.scalar(text("SELECT count(*) FROM points WHERE name = 'loss'")) == NUM_STEPS - 4095
        cost = connection.execute(t.run_costs.select()).one()
        assert (cost.gpu_seconds, cost.rows, cost.tokens, cost.joules, cost.device) == (
            2500.0,
            10_000,
            50_000,
            None,
            None,
        )
        assert cost.stretches == [[1, 100.5, 4099.0], [2, 4099.5, 5100.0]]
        assert not inspect(connection).has_table("metrics")
    engine.dispose()


def test_the_migrated_schema_is_the_one_in_the_tables(tmp_path: Path) -> None:
    engine = writer_engine(tmp_path / "store.db")
    migrate(engine, tmp_path / "store.db")
    with engine.connect() as connection:
        found = inspect(connection)
        for name in ("points", "blocks", "run_costs"):
            assert [column["name"] for column in found.get_columns(name)] == list(t.metadata.tables[name].c.keys())
    with pytest.raises(KeyError):
        t.metadata.tables["metrics"]
    engine.dispose()
