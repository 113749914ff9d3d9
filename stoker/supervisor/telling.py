"""The supervisor's part that watches events, makes alerts of them and has them sent.

The store is the truth: an alert waits there until a sender's journal says that it left. A try is counted before it
begins, so a crash repeats it after its wait and no crash loses it. Senders are processes of their own: nothing here
waits for a network. A channel that fails is said once, as an event, and once more when it works again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.exc import OperationalError

from stoker.errors import InvalidInput, StokerError
from stoker.notify import process
from stoker.notify.send import Message
from stoker.spec.channels import DESKTOP, resolve_channel
from stoker.store import tables as t
from stoker.store.store import Transaction
from stoker.supervisor import alerting, incidents
from stoker.supervisor.alerting import Told
from stoker.supervisor.context import Context
from stoker.supervisor.due import channels_due, has_waiting, set_waiting, take_due

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often, while anything is open or waits, the clock is asked whether it is time."""

IDLE_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 3600.0
HEARD_TO = "alerts_heard_to"
DOWN = "channels_down"
NO_WORD = "the sender ended without a word"


class Telling:
    """Incidents and alerts of a held lab. `start` begins to send messages and returns at once."""

    def __init__(self, context: Context, start: Callable[..., process.Sender] = process.start) -> None:
        self._context, self._start = context, start
        self._senders: dict[str, process.Sender] = {}
        self._has_news = True
        self._has_waiting = True
        self._due = 0.0
        context.store.listeners.append(lambda event: self._note_news())

    def tick(self) -> bool:
        """Enter new events, collect what senders did, start those that are due; return whether anything changed."""
        now = self._context.now()
        ended = [channel for channel, sender in self._senders.items() if not sender.is_alive]
        if not (self._has_news or ended or now >= self._due):
            return False
        self._has_news = False
        self._context.refresh_settings()  # whom to tell is not a matter of the run that goes on
        try:
            # What left is heard before events are entered: the end of an incident answers only what was told.
            is_changed = self._collect(ended) if ended or self._has_waiting else False
            is_changed |= self._enter()
            is_changed |= self._send() if self._has_waiting else False
        except (OperationalError, OSError, StokerError):
            self._has_news = True
            raise
        except Exception:  # who is told of a run must never end the supervisor of it
            log.exception("alerts are tried again in %g s", IDLE_SECONDS)
            self._due = now + IDLE_SECONDS
            return False
        return is_changed

    def _note_news(self) -> None:
        self._has_news = True

    def _enter(self) -> bool:
        """Read events into incidents, and incidents into alerts, in one transaction."""
        spec = self._context.spec.alerts
        with self._context.store.transaction() as transaction:
            changes = incidents.enter_events(transaction, 60.0 * spec.reopen_minutes)
            changes += incidents.settle(transaction)
            told = Told(
                transaction, spec, self._context.spec.lab.zone, self._context.workspace.root.name, self._in_hand()
            )
            alerting.plan(told, changes)
            alerting.remind(told)
            self._has_waiting = has_waiting(transaction)
            self._has_news |= incidents.has_unread(transaction)
            is_live = self._has_waiting or incidents.has_open(transaction)
        self._due = self._context.now() + (LOOK_SECONDS if is_live else IDLE_SECONDS)
        return bool(changes)

    def _collect(self, ended: list[str]) -> bool:
        """Enter what senders said, those of an earlier supervisor too; `ended` are channels whose own is over."""
        folder = self._context.workspace.alerts
        is_changed = False
        with self._context.store.transaction() as transaction:
            offsets: dict[str, int] = transaction.get(HEARD_TO, {})
            for path in folder.glob("*.jsonl"):
                channel = path.stem
                outcomes, offset = process.heard(folder, channel, offsets.get(channel, 0))
                for outcome in outcomes:
                    self._enter_outcome(transaction, channel, outcome)
                is_changed |= bool(outcomes)
                offsets = offsets | {channel: offset}
            if is_changed:
                transaction.put(HEARD_TO, offsets)
            for channel in ended:
                self._enter_silence(transaction, channel)
        return is_changed or bool(ended)

    def _enter_outcome(self, transaction: Transaction, channel: str, outcome: dict[str, Any]) -> None:
        alert = transaction.first(select(t.alerts).where(t.alerts.c.id == outcome["alert"]))
        if alert is None or alert.state != "waiting":
            return
        down = set(transaction.get(DOWN, []))
        if not outcome["is_sent"]:
            self._enter_failure(transaction, alert, str(outcome["error"]))
            return
        values = {"state": "sent", "sent_at": outcome["time"], "error": None}
        transaction.execute(update(t.alerts).where(t.alerts.c.id == alert.id).values(**values))
        if channel in down:
            transaction.put(DOWN, sorted(down - {channel}))
            transaction.event("info", "alerts.reachable", f"messages reach {channel} again", channel=channel)

    def _enter_failure(self, transaction: Transaction, alert: Row[Any], error: str) -> None:
        """Keep an alert for its next try, or give it up after `retry_attempts`; tell once that the channel is down."""
        is_over = alert.attempts >= self._context.spec.alerts.retry_attempts
        values = {"error": error, "state": "failed" if is_over else "waiting"}
        transaction.execute(update(t.alerts).where(t.alerts.c.id == alert.id).values(**values))
        down = transaction.get(DOWN, [])
        if alert.channel not in down:
            transaction.put(DOWN, sorted([*down, alert.channel]))
            text = f"no message reaches {alert.channel}: {error}; it is tried again, see: stoker alert list"
            transaction.event("warn", "alerts.unreachable", text, channel=alert.channel)

    def _enter_silence(self, transaction: Transaction, channel: str) -> None:
        """Count a try as failed of which a sender that is over said nothing."""
        sender = self._senders.pop(channel)
        for alert_id in sender.alerts:
            self._fail(transaction, alert_id, f"{NO_WORD} (status {sender.child.returncode})")

    def _send(self) -> bool:
        """Start a sender for each channel that has something due and none at work."""
        workspace, spec = self._context.workspace, self._context.spec
        work: dict[str, list[Message]] = {}
        with self._context.store.transaction() as transaction:
            for channel in channels_due(transaction):
                if channel not in self._senders and not process.is_sending(workspace.alerts, channel):
                    work[channel] = self._take(transaction, channel)
        work = {channel: messages for channel, messages in work.items() if messages}
        for channel, messages in work.items():
            url = self._url(channel, messages)
            if url is not None:
                self._senders[channel] = self._start(
                    workspace.alerts, channel, url, messages, spec.alerts.timeout_seconds, nice=spec.worker.other_nice
                )
        return bool(work)

    def _take(self, transaction: Transaction, channel: str) -> list[Message]:
        """Count a try of what is due in a channel and return it; what was held back goes as one message."""
        spec, now = self._context.spec.alerts, transaction.now
        if channel != DESKTOP and channel not in spec.channels:
            error = f"{channel} is no longer a channel of the settings"
            set_waiting(transaction, channel, state="failed", error=error)
            return []
        if alerting.is_muted(transaction, now, channel):
            set_waiting(transaction, channel, state="muted")
            return []
        alerts = take_due(transaction, spec, self._context.spec.lab.zone, self._context.workspace.root.name, channel)
        return [self._count_try(transaction, alert) for alert in alerts]

    def _count_try(self, transaction: Transaction, alert: Row[Any]) -> Message:
        spec = self._context.spec.alerts
        wait = min(LONGEST_WAIT_SECONDS, spec.retry_seconds * 2**alert.attempts)
        values = {"attempts": alert.attempts + 1, "not_before": transaction.now + wait, "error": None}
        transaction.execute(update(t.alerts).where(t.alerts.c.id == alert.id).values(**values))
        return Message(
            alert=alert.id, kind=alert.kind, severity=alert.severity, title=alert.title, text=alert.text,
            thread=self._thread(transaction, alert), key=self._name(f"alert{alert.id}", alert.created),
            attachment=alert.attachment,
        )  # fmt: skip

    def _thread(self, transaction: Transaction, alert: Row[Any]) -> str:
        """Return what is the same for all messages of an incident in a channel, and nowhere else."""
        i = t.incidents
        if alert.incident is None:
            return self._name(f"alert{alert.id}", alert.created)
        opened_at = transaction.scalar(select(i.c.opened_at).where(i.c.id == alert.incident))
        return self._name(f"{alert.incident}.{alert.channel}", opened_at)

    def _name(self, what: str, at: float) -> str:
        """Return a name that no other lab gives, of the letters that a mail's Message-ID may have."""
        return re.sub(r"[^A-Za-z0-9._-]", "-", f"{self._context.workspace.root.name}.{what}.{at:.0f}")

    def _url(self, channel: str, messages: Sequence[Message]) -> str | None:
        """Return where a channel leads; when its reference gives nothing, the try is counted as failed."""
        if channel == DESKTOP:
            return DESKTOP
        secret = self._context.spec.alerts.channels[channel]
        try:
            return resolve_channel(secret.get_secret_value(), self._context.workspace.root)
        except InvalidInput as error:
            with self._context.store.transaction() as transaction:
                for message in messages:
                    self._fail(transaction, message.alert, str(error))
            return None

    def _fail(self, transaction: Transaction, alert_id: int, error: str) -> None:
        alert = transaction.first(select(t.alerts).where(t.alerts.c.id == alert_id))
        if alert is not None and alert.state == "waiting" and alert.error is None:
            self._enter_failure(transaction, alert, error)

    def _in_hand(self) -> frozenset[int]:
        return frozenset(alert for sender in self._senders.values() for alert in sender.alerts)
