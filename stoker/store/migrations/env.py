"""Alembic's entry: runs on the connection that `store.migrate` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from stoker.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
