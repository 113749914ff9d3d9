"""A store of the first schema gets versions for its datasets and the lineage of its models."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from stoker.store import families
from stoker.store import tables as t
from stoker.store.engine import writer_engine
from stoker.store.migrate import migrate


def test_datasets_of_one_name_become_versions_and_what_was_trained_is_known(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    engine = writer_engine(path)
    config = Config()
    config.set_main_option("script_location", "stoker.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number, name in ((1, "a.jsonl"), (2, "b.jsonl"), (3, "a.jsonl")):
            connection.execute(t.files.insert().values(sha256=f"s{number}", name=name, bytes=1, accepted_at=0.0))
            row = {"id": f"d{number}", "number": number, "file_sha256": f"s{number}", "name": name, "state": "trained"}
            connection.execute(t.datasets.insert().values(**row, created=0.0))
            connection.execute(
                t.jobs.insert().values(id=f"j{number}", number=number, dataset=f"d{number}", position=1, created=0.0)
            )
            run = {"id": f"r{number}", "number": number, "job": f"j{number}", "dataset": f"d{number}", "state": "done"}
            connection.execute(t.runs.insert().values(**run, created=0.0))
        model = {"name": "main", "number": 1, "family": "main", "base": "tiny", "revision": "main", "shape": {}}
        connection.execute(t.models.insert().values(**model, created=0.0))
        for number, datasets in ((1, ["d1"]), (2, ["d1", "d2"])):
            version = {"model": "main", "version": number, "run": f"r{number}", "state": "published", "method": "full"}
            version |= {"weights_sha256": "", "base_sha256": "", "steps": 1, "datasets": datasets, "created": number}
            connection.execute(t.versions.insert().values(**version))
    migrate(engine, path)
    with engine.connect() as connection:
        found = families.standings(connection)
        assert [(one.family, one.version, one.relation) for one in found.values()] == [
            ("d1", 1, "first"), ("d2", 1, "first"), ("d1", 2, "extends")
        ]  # fmt: skip
        assert families.trained_by(connection, "d1") == ["main/v1", "main/v2"]
        assert families.trained_by(connection, "d2", "new") == ["main/v2"]
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == t.SCHEMA
    engine.dispose()
