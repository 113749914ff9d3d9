"""Bringing a store's file to this Stoker's schema.

A new file gets every migration; an older one is copied aside with VACUUM INTO first; a newer one is refused. The
migrations of one start run in one transaction. alembic is imported only when there is something to migrate.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError

from stoker.durable import fsync_path
from stoker.errors import Damaged, NotAllowed
from stoker.store.tables import SCHEMA


def migrate(engine: Engine, path: Path) -> None:
    """Bring the store at `path` to SCHEMA; NotAllowed when a newer Stoker made it, Damaged when it is no store."""
    current = current_schema(engine, path)
    if current == SCHEMA:
        return
    refuse_newer(current, path)
    if current is not None:
        _back_up(engine, path, current)
    _upgrade(engine)
    path.chmod(0o600)


def current_schema(engine: Engine, path: Path) -> str | None:
    """Return the number of the last migration, or None for a file without any."""
    try:
        with engine.connect() as connection:
            if not connection.scalar(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")):
                return None
            found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
            return found
    except DatabaseError as error:
        if "not a database" in str(error) or "malformed" in str(error):
            raise Damaged(path.parent, path.name, f"not a database ({error.orig})") from error
        raise


def refuse_newer(current: str | None, path: Path) -> None:
    if current is not None and current > SCHEMA:
        raise NotAllowed(
            f"the store {path} has schema {current}",
            f"this Stoker knows schemas up to {SCHEMA}; writing to a newer one would damage it",
            "update Stoker, or open the lab with the version that made it",
        )


def _back_up(engine: Engine, path: Path, current: str) -> None:
    """Copy the store beside itself; `cp` of a live database is no backup, VACUUM INTO is."""
    copy_database(engine, path.with_name(f"{path.name}.before-{SCHEMA}-from-{current}"))


def copy_database(engine: Engine, path: Path) -> None:
    """Write a whole copy of an open database to `path`, which appears only when it is whole."""
    staging = path.with_name(path.name + ".part")
    staging.unlink(missing_ok=True)
    connection = engine.raw_connection()  # outside of SQLAlchemy's transactions, in which VACUUM is not allowed
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(staging),))
    finally:
        connection.close()
    fsync_path(staging)
    staging.replace(path)
    fsync_path(path.parent)


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)  # its plugin set-up is no news of a lab
    config = Config()
    config.set_main_option("script_location", "stoker.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
