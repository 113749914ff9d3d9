"""Events of one cause become one incident: opened, joined, worsened, recovered.

Events are read after a cursor that the same transaction moves on: each counts exactly once, whatever is killed when,
and an event that a crash left unread is read by the next supervisor. Which code does what is `analysis/causes`; who is
told is `supervisor/alerting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, and_, insert, or_, select, update

from stoker.analysis.causes import SETTLES_AFTER_STEPS, Cause, causes_of, step_of
from stoker.errors import NotAllowed, NotFound
from stoker.spec.alerting import NEWS_KINDS, SEVERITIES
from stoker.store import tables as t
from stoker.store.store import Transaction, set_fields

READ_TO = "incidents_read_to"
MAX_EVENTS_AT_ONCE = 500
_NUM_ACTIONS_TOLD = 3
What = Literal["opened", "worse", "recovered", "news"]
EventRow = Row[Any]


@dataclass(frozen=True)
class Change:
    """What a person may be told of: an incident's change, or the event that is news."""

    what: What
    incident: str | None = None
    event: EventRow | None = None


def enter_events(transaction: Transaction, reopen_seconds: float) -> list[Change]:
    """Read the events after the cursor into incidents and move the cursor; return what changed, in order."""
    e = t.events
    read_to = int(transaction.get(READ_TO, 0))
    rows = transaction.rows(select(e).where(e.c.id > read_to).order_by(e.c.id).limit(MAX_EVENTS_AT_ONCE))
    changes: list[Change] = []
    for event in rows:
        if event.code in NEWS_KINDS:
            changes.append(Change("news", event=event))
        for cause in causes_of(event.code, event.severity):
            changes += _apply(transaction, event, cause, reopen_seconds)
    if rows:
        transaction.put(READ_TO, rows[-1].id)
    return changes


def has_unread(transaction: Transaction) -> bool:
    """Tell whether events are left for another turn."""
    e = t.events
    unread = select(e.c.id).where(e.c.id > int(transaction.get(READ_TO, 0))).limit(1)
    return transaction.first(unread) is not None


def settle(transaction: Transaction) -> list[Change]:
    """Recover incidents whose runs went on well past the step they were seen at."""
    i, r = t.incidents, t.runs
    could = and_(i.c.state == "open", i.c.kind.in_(SETTLES_AFTER_STEPS), r.c.step > i.c.step)
    changes = []
    for row in transaction.rows(
        select(i, r.c.step.label("now_at")).join_from(i, r, r.c.id == i.c.subject).where(could)
    ):
        if row.now_at >= row.step + SETTLES_AFTER_STEPS[row.kind]:
            changes += _end(transaction, row, "recovered", f"it went on past step {row.now_at}", transaction.now)
    return changes


def has_open(transaction: Transaction) -> bool:
    return transaction.first(select(t.incidents.c.id).where(t.incidents.c.state == "open").limit(1)) is not None


def close(transaction: Transaction, incident_id: str) -> None:
    """Close an incident by a person's hand."""
    row = transaction.first(select(t.incidents).where(t.incidents.c.id == incident_id))
    if row is None:
        raise NotFound(f"no incident {incident_id!r}", "", "run: stoker alert list")
    if row.state != "open":
        raise NotAllowed(f"{row.id} is {row.state}", "only an open incident is closed", "run: stoker alert list")
    _end(transaction, row, "closed", "closed by hand", transaction.now)


def model_of(transaction: Transaction, subject: str) -> str | None:
    """Return the model line that an incident's subject belongs to, or None."""
    for table in (t.runs, t.evaluations):
        row = transaction.first(select(table.c.model).where(table.c.id == subject))
        if row is not None:
            return None if row.model is None else str(row.model)
    return None


def _apply(transaction: Transaction, event: EventRow, cause: Cause, reopen_seconds: float) -> list[Change]:
    subjects = _subjects(transaction, event, cause)
    if cause.role in ("recovers", "closes"):
        state = "recovered" if cause.role == "recovers" else "closed"
        changes = []
        for row in _open_incidents(transaction, subjects, cause.kinds):
            _join(transaction, row, event)
            changes += _end(transaction, row, state, event.text, event.time)
        return changes
    if cause.role == "joins":
        found = _open_incidents(transaction, subjects, cause.kinds)
        return _join(transaction, found[0], event) if found else []
    if cause.role == "tells":
        return _tell(transaction, event, cause, subjects[0], reopen_seconds)
    any_kind = () if cause.role == "worsens" else cause.kinds
    found = _open_incidents(transaction, subjects, any_kind)
    if found:
        return _join(transaction, found[0], event)
    if earlier := _ended_lately(transaction, subjects[0], cause.kinds[:1], event.time - reopen_seconds, "recovered"):
        set_fields(transaction, t.incidents, earlier.id, state="open", outcome=None)
        return _join(transaction, earlier, event)
    return [Change("opened", _open(transaction, event, cause.kinds[0], subjects[0]))]


def _tell(transaction: Transaction, event: EventRow, cause: Cause, subject: str, reopen_seconds: float) -> list[Change]:
    if found := _open_incidents(transaction, [subject], cause.kinds):
        changes = _join(transaction, found[0], event)
        return changes + _end(transaction, found[0], "closed", event.text, event.time, is_told=True)
    if earlier := _ended_lately(transaction, subject, cause.kinds[:1], event.time - reopen_seconds, "closed"):
        return _join(transaction, earlier, event)
    incident_id = _open(transaction, event, cause.kinds[0], subject)
    set_fields(transaction, t.incidents, incident_id, state="closed", closed_at=event.time)
    return [Change("opened", incident_id)]


def _subjects(transaction: Transaction, event: EventRow, cause: Cause) -> list[str]:
    """Return the ids that an event's cause is about, the first of which an incident would be opened for."""
    if cause.subject == "lab":
        return ["lab"]
    if cause.subject == "channel":
        return [str((event.data or {}).get("channel"))]
    if cause.subject == "dataset":
        return [event.dataset or event.run or "lab"]
    if cause.subject == "job" and event.run:
        job = select(t.runs.c.job).where(t.runs.c.id == event.run).scalar_subquery()
        return [row.id for row in transaction.rows(select(t.runs.c.id).where(t.runs.c.job == job))]
    own = event.run or event.evaluation or event.dataset or "lab"
    if cause.role in ("recovers", "closes") and event.run:
        ids = transaction.rows(select(t.evaluations.c.id).where(t.evaluations.c.run == event.run))
        return [own, *(row.id for row in ids)]
    return [own]


def _open_incidents(transaction: Transaction, subjects: Sequence[str], kinds: tuple[str, ...]) -> list[Row[Any]]:
    """Return the open incidents of subjects, the one that changed last first; `kinds` () for any."""
    i = t.incidents
    condition = and_(i.c.state == "open", i.c.subject.in_(subjects))
    if kinds:
        condition = and_(condition, i.c.kind.in_(kinds))
    return transaction.rows(select(i).where(condition).order_by(i.c.updated_at.desc(), i.c.number.desc()))


def _ended_lately(
    transaction: Transaction, subject: str, kinds: tuple[str, ...], since: float, state: str
) -> Row[Any] | None:
    i = t.incidents
    lately = or_(i.c.closed_at >= since, i.c.updated_at >= since)
    same = and_(i.c.subject == subject, i.c.kind.in_(kinds), i.c.state == state, lately)
    return transaction.first(select(i).where(same).order_by(i.c.number.desc()).limit(1))


def _open(transaction: Transaction, event: EventRow, kind: str, subject: str) -> str:
    number = transaction.next_number(t.incidents)
    incident_id = f"i{number}"
    transaction.execute(
        insert(t.incidents).values(
            id=incident_id, number=number, kind=kind, subject=subject, severity=event.severity, state="open",
            title=event.text, num_events=1, step=_step(transaction, event), opened_at=event.time, updated_at=event.time,
        )
    )  # fmt: skip
    _mark(transaction, event, incident_id)
    return incident_id


def _join(transaction: Transaction, row: Row[Any], event: EventRow) -> list[Change]:
    """Count an event to an incident; a graver one gives it its severity and its words."""
    _mark(transaction, event, row.id)
    values: dict[str, Any] = {"num_events": t.incidents.c.num_events + 1, "updated_at": event.time}
    is_worse = SEVERITIES.index(event.severity) > SEVERITIES.index(row.severity)
    if is_worse:
        values |= {"severity": event.severity, "title": event.text}
    if event.severity != "info":
        steps = [step for step in (row.step, _step(transaction, event)) if step is not None]
        values["step"] = max(steps, default=None)
    set_fields(transaction, t.incidents, row.id, **values)
    return [Change("worse", row.id)] if is_worse else []


def _end(
    transaction: Transaction, row: Row[Any], state: str, text: str, at: float, *, is_told: bool = False
) -> list[Change]:
    """End an incident with its outcome: what was done about it, then how it ended."""
    e = t.events
    done = select(e.c.text).where(e.c.incident == row.id, e.c.code.like("recovery.%"), e.c.text != text)
    actions = [found.text for found in transaction.rows(done.order_by(e.c.id.desc()).limit(_NUM_ACTIONS_TOLD))]
    outcome = "; ".join([*reversed(actions), text])
    set_fields(transaction, t.incidents, row.id, state=state, outcome=outcome, closed_at=at, updated_at=at)
    return [Change("recovered", row.id)] if state == "recovered" or is_told else []


def _step(transaction: Transaction, event: EventRow) -> int | None:
    step = step_of(event.data)
    if step is None and event.run:
        step = transaction.scalar(select(t.runs.c.step).where(t.runs.c.id == event.run))
    return step


def _mark(transaction: Transaction, event: EventRow, incident_id: str) -> None:
    transaction.execute(update(t.events).where(t.events.c.id == event.id).values(incident=incident_id))
