"""What people ask about incidents and alerts, as plain dictionaries with stable fields. It reads; channels are in settings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, or_, select

from stoker.errors import NotFound
from stoker.store import tables as t
from stoker.store.queries import lab_value

_INCIDENT = (
    "id", "kind", "subject", "severity", "state", "title", "outcome", "num_events", "opened_at", "updated_at", "closed_at",
)  # fmt: skip
_ALERT = ("channel", "kind", "severity", "state", "attempts", "not_before", "held", "error", "created", "sent_at")


def incidents(connection: Connection, *, limit: int = 50, since: float = 0.0) -> list[dict[str, Any]]:
    """Every open incident, the one that changed last first; then the `limit` that ended last after `since`, the newest first."""
    i = t.incidents
    rank = case((i.c.state == "open", 0), else_=1)
    wanted = select(i).where(or_(i.c.state == "open", i.c.updated_at >= since))
    rows = connection.execute(wanted.order_by(rank, i.c.updated_at.desc(), i.c.number.desc())).all()
    num_open = sum(row.state == "open" for row in rows)
    ended = sorted(rows[num_open : num_open + limit], key=lambda row: -row.number)
    return [_incident(connection, row) for row in [*rows[:num_open], *ended]]


def incident_detail(connection: Connection, incident_id: str) -> dict[str, Any]:
    """One incident with its events in order, and what was sent where."""
    row = connection.execute(select(t.incidents).where(t.incidents.c.id == incident_id)).first()
    if row is None:
        raise NotFound(f"no incident {incident_id!r}", "", "run: stoker alert list")
    e = t.events
    found = connection.execute(select(e).where(e.c.incident == incident_id).order_by(e.c.id))
    events = [{name: one._mapping[name] for name in ("time", "severity", "code", "text", "data")} for one in found]
    return _incident(connection, row) | {"events": events}


def channel_states(connection: Connection, now: float) -> dict[str, dict[str, Any]]:
    """By channel: how many messages wait and until when, when the last left, whether nothing reaches it, mutes."""
    a = t.alerts
    mutes = mutes_in_force(connection, now)
    down = lab_value(connection, "channels_down", [])
    found: dict[str, dict[str, Any]] = {}
    waiting = and_(a.c.state == "waiting")
    counted = select(
        a.c.channel,
        func.sum(case((waiting, 1), else_=0)).label("waiting"),
        func.min(case((waiting, a.c.not_before))).label("next_at"),
        func.max(a.c.sent_at).label("last_sent_at"),
    ).group_by(a.c.channel)
    for row in connection.execute(counted):
        found[row.channel] = {"waiting": row.waiting, "next_at": row.next_at, "last_sent_at": row.last_sent_at}
    for name in {*found, *down, *mutes}:
        facts = found.setdefault(name, {"waiting": 0, "next_at": None, "last_sent_at": None})
        facts |= {"is_down": name in down, "muted_until": mutes.get(name), "error": _last_error(connection, name)}
    return found


def mutes_in_force(connection: Connection, now: float) -> dict[str, float]:
    """What is muted, by channel, kind or "all", and until when."""
    return {name: until for name, until in lab_value(connection, "mutes", {}).items() if until > now}


def _last_error(connection: Connection, channel: str) -> str | None:
    a = t.alerts
    failed = select(a.c.error).where(a.c.channel == channel, a.c.error.is_not(None), a.c.state != "sent")
    return connection.scalar(failed.order_by(a.c.id.desc()).limit(1))


def _incident(connection: Connection, row: Row[Any]) -> dict[str, Any]:
    a = t.alerts
    found = connection.execute(select(a).where(a.c.incident == row.id).order_by(a.c.id))
    alerts = [{name: one._mapping[name] for name in _ALERT} for one in found]
    return {name: row._mapping[name] for name in _INCIDENT} | {"alerts": alerts}
