"""Who is told of an incident: rows of the table `alerts`, made in the transaction that changed the incident.

One alert per incident and channel. What comes after it goes to the channels that were told, as answers: it got worse,
it is over; a cause that comes and goes is not told again before it stayed. Muted is recorded, never sent later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from sqlalchemy import Row, and_, func, insert, select, update

from stoker.notify.routing import DIGEST, channels_for, is_at_least, is_urgent, release
from stoker.notify.wording import text_of, title_of
from stoker.spec.alerting import AlertsSpec
from stoker.store import tables as t
from stoker.store.store import Transaction
from stoker.supervisor.incidents import Change, model_of

MUTES = "mutes"
TOLD = ("waiting", "sent", "gathered")


@dataclass(frozen=True)
class Told:
    """What alerts are made with. `sending`: ids of alerts that a sender has in hand."""

    transaction: Transaction
    spec: AlertsSpec
    zone: tzinfo | None
    lab: str
    sending: frozenset[int] = frozenset()

    @property
    def now(self) -> float:
        return self.transaction.now


def plan(told: Told, changes: Iterable[Change]) -> None:
    """Make the alerts that changes call for."""
    for change in changes:
        if change.what == "news":
            _plan_news(told, change)
            continue
        assert change.incident is not None
        incident = told.transaction.first(select(t.incidents).where(t.incidents.c.id == change.incident))
        assert incident is not None
        if change.what == "recovered":
            _plan_end(told, incident)
        else:
            _plan_trouble(told, incident)


def remind(told: Told) -> None:
    """Tell again what is still open: after `repeat_minutes`, or when it came back after its end was told and stayed."""
    i = t.incidents
    for incident in told.transaction.rows(select(i).where(i.c.state == "open")):
        for channel, alerts in _by_channel(told, incident.id).items():
            kind = _reminder(told, incident, alerts[-1])
            if kind is not None:
                _add(told, incident, channel, kind, incident.severity)


def is_muted(transaction: Transaction, now: float, *names: str) -> bool:
    """Tell whether a channel, a kind or all of them is muted now."""
    mutes: dict[str, float] = transaction.get(MUTES, {})
    return any(mutes.get(name, 0.0) > now for name in ("all", *names))


def _reminder(told: Told, incident: Row[Any], last: Row[Any]) -> str | None:
    """Return the kind of message that is due on an open incident after the `last` one in a channel, or None."""
    if last.state not in ("sent", "gathered"):
        return None
    if last.kind == "recovered":
        is_back = told.now - (incident.closed_at or told.now) > 60 * told.spec.reopen_minutes
        return "reopened" if is_back else None
    waits = told.spec.repeat_minutes and is_urgent(told.spec, incident.severity)
    is_due = waits and told.now - (last.sent_at or last.created) >= 60 * told.spec.repeat_minutes
    return "reminder" if is_due else None


def _plan_trouble(told: Told, incident: Row[Any]) -> None:
    """Tell an incident that opened or got worse to the channels of its severity that do not know that yet."""
    model = model_of(told.transaction, incident.subject)
    known = _by_channel(told, incident.id)
    for channel in channels_for(told.spec, incident.severity, incident.kind, model):
        if incident.kind == "notifier" and channel == incident.subject:
            continue  # it can't be told through itself
        alerts = known.get(channel, [])
        if any(is_at_least(alert.severity, incident.severity) for alert in alerts if alert.kind != "recovered"):
            continue
        if alerts and _is_unsent(told, alerts[-1]):
            _amend(told, incident, alerts[-1], severity=incident.severity)
        else:
            _add(told, incident, channel, "worse" if alerts else "opened", incident.severity)


def _plan_end(told: Told, incident: Row[Any]) -> None:
    """Tell the end of an incident to the channels that know of it; one that still waits to be told says both."""
    for channel, alerts in _by_channel(told, incident.id).items():
        last = alerts[-1]
        if last.kind == "recovered" or last.state not in TOLD:
            continue
        if _is_unsent(told, last):
            _amend(told, incident, last)
        else:
            _add(told, incident, channel, "recovered", "info")


def _plan_news(told: Told, change: Change) -> None:
    event = change.event
    assert event is not None
    model = model_of(told.transaction, event.run or event.evaluation or "")
    if model is None and event.version:
        model = event.version.partition("/")[0]
    data = event.data or {}
    attachment = data.get("path") or (data.get("details") or {}).get("path")
    for channel in channels_for(told.spec, event.severity, event.code, model, is_news=True):
        _insert(
            told, channel, "news", event.severity, event.code, incident=None, attachment=attachment,
            title=f"{told.lab}: {event.code}", text=event.text,
        )  # fmt: skip


def _by_channel(told: Told, incident_id: str) -> dict[str, list[Row[Any]]]:
    a = t.alerts
    found: dict[str, list[Row[Any]]] = {}
    for row in told.transaction.rows(select(a).where(a.c.incident == incident_id).order_by(a.c.id)):
        found.setdefault(row.channel, []).append(row)
    return found


def _is_unsent(told: Told, alert: Row[Any]) -> bool:
    """Tell whether no sender has an alert in hand, not even one of an earlier supervisor: a try without an outcome."""
    is_tried = alert.attempts > 0 and alert.error is None and told.now < alert.not_before
    return alert.state == "waiting" and alert.id not in told.sending and not is_tried


def _amend(told: Told, incident: Row[Any], alert: Row[Any], severity: str | None = None) -> None:
    """Say in an alert that has not left yet what came since."""
    values: dict[str, Any] = {"text": text_of(incident, alert.kind)}
    if severity is not None:
        not_before, held = release(told.spec, told.zone, severity, told.now)
        values |= {"severity": severity, "not_before": min(not_before, alert.not_before), "held": held}
    told.transaction.execute(update(t.alerts).where(t.alerts.c.id == alert.id).values(**values))


def _add(told: Told, incident: Row[Any], channel: str, kind: str, severity: str) -> None:
    name = told.transaction.scalar(select(t.datasets.c.name).where(t.datasets.c.id == incident.subject))
    title, text = title_of(told.lab, incident, name), text_of(incident, kind)
    _insert(told, channel, kind, severity, incident.kind, incident=incident.id, title=title, text=text)


def _insert(told: Told, channel: str, kind: str, severity: str, mute_kind: str, **values: Any) -> None:
    not_before, held = release(told.spec, told.zone, severity, told.now)
    if held == DIGEST:
        not_before = min(not_before, _open_digest(told, channel) or not_before)
    state = "muted" if is_muted(told.transaction, told.now, channel, mute_kind) else "waiting"
    told.transaction.execute(
        insert(t.alerts).values(
            channel=channel, kind=kind, severity=severity, state=state, not_before=not_before, held=held,
            created=told.now, **values,
        )
    )  # fmt: skip


def _open_digest(told: Told, channel: str) -> float | None:
    """Return when the digest that a channel gathers now is sent, or None while it gathers none."""
    a = t.alerts
    waiting = and_(a.c.channel == channel, a.c.state == "waiting", a.c.held == DIGEST, a.c.not_before > told.now)
    found: float | None = told.transaction.scalar(select(func.min(a.c.not_before)).where(waiting))
    return found


def mute(transaction: Transaction, name: str, until: float) -> None:
    """Say nothing of a kind, through a channel, or at all ("all") until a moment, in seconds since the epoch."""
    transaction.put(MUTES, _mutes_in_force(transaction) | {name: until})


def unmute(transaction: Transaction, name: str | None) -> list[str]:
    """Let a kind, a channel, or everything (None) speak again; return what was muted."""
    mutes = _mutes_in_force(transaction)
    names = [known for known in mutes if name in (None, known)]
    transaction.put(MUTES, {known: until for known, until in mutes.items() if known not in names})
    return names


def _mutes_in_force(transaction: Transaction) -> dict[str, float]:
    return {name: until for name, until in transaction.get(MUTES, {}).items() if until > transaction.now}
