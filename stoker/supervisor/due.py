"""Which alerts are due in a channel, which are held back, and which go together as one message."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

from sqlalchemy import Row, and_, insert, select, update

from stoker.notify.routing import QUIET, TOO_MANY, is_urgent, quiet_until
from stoker.notify.wording import digest_of
from stoker.spec.alerting import SEVERITIES, AlertsSpec
from stoker.store import tables as t
from stoker.store.store import Transaction

HOUR_SECONDS = 3600.0
URGENT_WAIT_SECONDS = 300.0
"""Urgent messages beyond `max_per_hour` go together this often."""


def channels_due(transaction: Transaction) -> list[str]:
    """Return the channels that have something to send now."""
    a = t.alerts
    due = and_(a.c.state == "waiting", a.c.not_before <= transaction.now)
    return [row.channel for row in transaction.rows(select(a.c.channel).distinct().where(due).order_by(a.c.channel))]


def has_waiting(transaction: Transaction) -> bool:
    return transaction.first(select(t.alerts.c.id).where(t.alerts.c.state == "waiting").limit(1)) is not None


def take_due(transaction: Transaction, spec: AlertsSpec, zone: tzinfo | None, lab: str, channel: str) -> list[Row[Any]]:
    """Return what is to be sent in a channel now; hold back what quiet hours or `max_per_hour` keep.

    What was held back before, and what goes beyond `max_per_hour`, is gathered into one message.
    """
    alerts = [alert for alert in _due(transaction, channel) if not _is_quiet(transaction, spec, zone, alert)]
    room, room_at = _room(transaction, channel, spec.max_per_hour)
    if alerts and not room:
        if any(is_urgent(spec, alert.severity) for alert in alerts):
            room_at = min(room_at, _last_sent(transaction, channel) + URGENT_WAIT_SECONDS)
        if room_at > transaction.now:
            _hold(transaction, alerts, room_at, TOO_MANY)
            return []
        room = 1
    beyond = alerts[room - 1 :] if len(alerts) > room else []
    together = [alert for alert in alerts if (alert.held and not alert.attempts) or alert in beyond]
    if len(together) < 2:
        return alerts
    apart = [alert for alert in alerts if alert not in together]
    return [*apart, _gather(transaction, lab, channel, together)]


def set_waiting(transaction: Transaction, channel: str, **values: Any) -> None:
    """Change all alerts that wait in a channel."""
    a = t.alerts
    transaction.execute(update(a).where(a.c.channel == channel, a.c.state == "waiting").values(**values))


def _due(transaction: Transaction, channel: str) -> list[Row[Any]]:
    a = t.alerts
    due = and_(a.c.channel == channel, a.c.state == "waiting", a.c.not_before <= transaction.now)
    return transaction.rows(select(a).where(due).order_by(a.c.id))


def _is_quiet(transaction: Transaction, spec: AlertsSpec, zone: tzinfo | None, alert: Row[Any]) -> bool:
    """Put a message off that became due in quiet hours: another try of it, or hours that were set meanwhile."""
    until = None if is_urgent(spec, alert.severity) else quiet_until(spec, zone, transaction.now)
    if until is not None:
        _hold(transaction, [alert], until, alert.held or QUIET)
    return until is not None


def _room(transaction: Transaction, channel: str, max_per_hour: int) -> tuple[int, float]:
    """Return how many messages may still go this hour, and when there is room for one."""
    a = t.alerts
    lately = and_(a.c.channel == channel, a.c.state == "sent", a.c.sent_at > transaction.now - HOUR_SECONDS)
    times = [row.sent_at for row in transaction.rows(select(a.c.sent_at).where(lately).order_by(a.c.sent_at))]
    room = max_per_hour - len(times)
    return (room, transaction.now) if room > 0 else (0, times[-max_per_hour] + HOUR_SECONDS)


def _last_sent(transaction: Transaction, channel: str) -> float:
    a = t.alerts
    sent = select(a.c.sent_at).where(a.c.channel == channel, a.c.state == "sent").order_by(a.c.sent_at.desc())
    return float(transaction.scalar(sent.limit(1)) or 0.0)


def _hold(transaction: Transaction, alerts: Sequence[Row[Any]], until: float, why: str) -> None:
    ids = [alert.id for alert in alerts]
    transaction.execute(update(t.alerts).where(t.alerts.c.id.in_(ids)).values(not_before=until, held=why))


def _gather(transaction: Transaction, lab: str, channel: str, alerts: Sequence[Row[Any]]) -> Row[Any]:
    """Make one alert of several; the gravest gives it its severity."""
    title, text = digest_of(lab, alerts)
    severity = max((alert.severity for alert in alerts), key=SEVERITIES.index)
    now = transaction.now
    values = {"channel": channel, "kind": "digest", "severity": severity, "title": title, "text": text}
    made = transaction.execute(insert(t.alerts).values(**values, state="waiting", not_before=now, created=now))
    assert made.inserted_primary_key is not None
    digest_id = made.inserted_primary_key[0]
    ids = [alert.id for alert in alerts]
    transaction.execute(update(t.alerts).where(t.alerts.c.id.in_(ids)).values(state="gathered", digest=digest_id))
    row = transaction.first(select(t.alerts).where(t.alerts.c.id == digest_id))
    assert row is not None
    return row
