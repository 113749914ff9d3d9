"""What a person who watches a run wants to see of it besides its series: the last samples, the last live changes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from stoker.store import tables as t
from stoker.store.records import plain


def last_samples(connection: Connection, run_id: str, limit: int) -> list[dict[str, Any]]:
    """The first `limit` probes of the last step at which a run answered any."""
    s = t.samples
    newest = select(func.max(s.c.step)).where(s.c.run == run_id).scalar_subquery()
    statement = select(s).where(s.c.run == run_id, s.c.step == newest).order_by(s.c.probe).limit(limit)
    return [plain(row) for row in connection.execute(statement)]


def last_changes(connection: Connection, run_id: str, limit: int) -> list[dict[str, Any]]:
    """The last `limit` changes asked of a run, oldest first."""
    c = t.changes
    rows = connection.execute(select(c).where(c.c.run == run_id).order_by(c.c.id.desc()).limit(limit)).all()
    return [plain(row) for row in reversed(rows)]
