"""Carrying out what the command line asks for.

An intent is answered after its effect is in the store: a crash between repeats it, and every effect is harmless when
repeated. A refusal is the reply; nothing an intent says can end the supervisor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from stoker.errors import NotAllowed, StokerError, UsageError, UserError
from stoker.mailbox.intents import Intent, answer_intent, pending_intents
from stoker.registry import families, versions
from stoker.store import tables as t
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import conclude, incidents, queue, review, steering
from stoker.supervisor.alerting import mute, unmute
from stoker.supervisor.context import Context
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intake import approve
from stoker.supervisor.reporting import record
from stoker.supervisor.standing import roll_back
from stoker.supervisor.trials import begin_trial

log = logging.getLogger(__name__)

Effect = Callable[[Transaction, dict[str, Any]], dict[str, Any]]


class Intents:
    """Takes intents in the order in which they were posted."""

    def __init__(self, context: Context, inbox: Inbox, ask_end: Callable[[], None]) -> None:
        self._context, self._inbox, self._ask_end = context, inbox, ask_end

    def tick(self) -> bool:
        """Carry out what is pending; return whether there was anything."""
        folder = self._context.workspace.intents
        if not any(path.name.endswith(".intent.json") for path in folder.iterdir()):
            return False
        for intent in _readable(folder):
            self._carry_out(intent)
        return True

    def _carry_out(self, intent: Intent) -> None:
        folder = self._context.workspace.intents
        try:
            result = self._effect(intent)
        except (StokerError, KeyError, TypeError, ValueError) as error:
            # The words of another process: a refusal or nonsense is answered, never a reason to end.
            answer_intent(folder, intent, error=_as_error(intent, error))
            return
        answer_intent(folder, intent, **result)

    def _effect(self, intent: Intent) -> dict[str, Any]:
        if intent.kind == "down":
            self._ask_end()
            return {}
        if intent.kind == "train":
            return self._train(intent.fields)
        if intent.kind == "run.rollback":
            folder = self._context.workspace.run(str(intent.fields["run"]))
            with self._context.store.transaction() as transaction:
                return steering.roll_back_run(transaction, folder, {**intent.fields, "request": intent.id})
        if intent.kind == "data.review":
            with self._context.store.transaction() as transaction:
                return review.decide(transaction, self._context.workspace, intent.fields)
        if intent.kind == "compare":
            return {"trial": begin_trial(self._context, self._inbox, intent.fields["items"], intent.id)}
        effect = _EFFECTS.get(intent.kind)
        if effect is None:
            raise UsageError(f"unknown intent {intent.kind!r}", "this supervisor does not know it", "update Stoker")
        with self._context.store.transaction() as transaction:
            result = effect(transaction, {**intent.fields, "request": intent.id})
        if intent.kind == "model.delete":
            with self._context.store.transaction() as transaction:
                versions.retire_deleted(transaction, self._context.workspace)
        return result

    def _train(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Accept a file named on the command line; it goes to the head of the queue."""
        taken = self._inbox.take(Path(fields["path"]), priority=queue.TOP_PRIORITY, is_kept=True)
        if not taken.is_new:
            with self._context.store.transaction() as transaction:
                queue.hurry(transaction, taken.dataset)
        return {"dataset": taken.dataset, "is_new": taken.is_new}


def pause_run(transaction: Transaction, run_id: str) -> None:
    """Pause a running run at its next step."""
    run = queue.get_run(transaction, run_id)
    if run.state == "paused":
        return
    if run.state != "running":
        raise NotAllowed(f"{run.id} is {run.state}", "only a running run is paused", f"stoker queue pause {run.job}")
    if queue.has_open_task(transaction, run.id):
        set_fields(transaction, t.runs, run.id, wanted="pause")
        return
    set_fields(transaction, t.runs, run.id, state="paused", code="asked", reason=None)
    transaction.event("info", "run.paused", f"{run.id} is paused at step {run.step}", run=run.id)


def resume_run(transaction: Transaction, run_id: str) -> None:
    """Let a paused run go on; a parked or stopped one is queued again."""
    run = queue.get_run(transaction, run_id)
    if run.state == "running":
        set_fields(transaction, t.runs, run.id, wanted=None, not_before=0.0)
    elif run.state == "paused":
        set_fields(transaction, t.runs, run.id, state="running", code=None, reason=None, wanted=None, not_before=0.0)
        transaction.event("info", "run.asked-on", f"{run.id} goes on", run=run.id)
    elif run.state in ("parked", "stopped"):
        queue.retry(transaction, run.job)
    else:
        raise NotAllowed(f"{run.id} is {run.state}", "only a paused, parked or stopped run is resumed")


def stop_run(transaction: Transaction, run_id: str) -> None:
    """End a run at its next step; its checkpoint stays."""
    run = queue.get_run(transaction, run_id)
    if run.state in ("done", "failed", "stopped"):
        raise NotAllowed(f"{run.id} is over ({run.state})", "", "run: stoker run list")
    if run.state == "running" and queue.has_open_task(transaction, run.id):
        set_fields(transaction, t.runs, run.id, wanted="stop")
        return
    set_fields(transaction, t.runs, run.id, state="stopped", code="asked", reason=None, ended_at=transaction.now)
    steering.reject_requests(transaction, run.id, "the run was stopped")
    transaction.event("info", "run.stopped", f"{run.id} is stopped at step {run.step}", run=run.id)


def _pause_queue(transaction: Transaction, fields: dict[str, Any], *, is_paused: bool) -> dict[str, Any]:
    if fields.get("job"):
        queue.hold(transaction, fields["job"], is_held=is_paused)
        return {}
    if transaction.get("queue_paused", False) != is_paused:
        transaction.put("queue_paused", is_paused)
        word = "paused" if is_paused else "going on"
        transaction.event("info", "queue.paused" if is_paused else "queue.resumed", f"the queue is {word}")
    return {}


def _rollback(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    version = versions.rollback(transaction, fields["model"])
    return {"model": version.model, "version": version.version}


def _promote(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    versions.promote(transaction, fields["model"], int(fields["version"]), "promoted by hand")
    return {}


def _pin(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    versions.pin(transaction, fields["model"], int(fields["version"]), is_pinned=bool(fields["is_pinned"]))
    return {}


def _delete(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    is_confirmed = fields.get("is_confirmed") is True
    versions.delete(transaction, fields["model"], int(fields["version"]), is_confirmed=is_confirmed)
    return {}


def _replaces(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    return {"dataset": families.declare(transaction, str(fields["sha256"]), str(fields["dataset"]))}


def _roll_back_data(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    return roll_back(transaction, str(fields["dataset"]))


def _mute(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    until = transaction.now + float(fields["seconds"])
    mute(transaction, str(fields["name"]), until)
    return {"until": until}


def _unmute(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    return {"names": unmute(transaction, fields.get("name"))}


def _evaluate(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    against = [int(number) for number in fields.get("against") or []]
    return {"evaluation": conclude.ask_for(transaction, fields["model"], int(fields["version"]), against)}


def _on(field: str, act: Callable[[Transaction, str], Any]) -> Effect:
    """Make an effect of a function of one id."""

    def effect(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
        result = act(transaction, str(fields[field]))
        return {"run": result} if isinstance(result, str) else {}

    return effect


def _move(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    queue.move(transaction, fields["job"], before=fields.get("before"), to=fields.get("to"))
    return {}


def _priority(transaction: Transaction, fields: dict[str, Any]) -> dict[str, Any]:
    queue.set_priority(transaction, fields["job"], int(fields["priority"]))
    return {}


_EFFECTS: dict[str, Effect] = {
    "data.approve": _on("dataset", approve),
    "data.replaces": _replaces,
    "data.rollback": _roll_back_data,
    "queue.pause": lambda transaction, fields: _pause_queue(transaction, fields, is_paused=True),
    "queue.resume": lambda transaction, fields: _pause_queue(transaction, fields, is_paused=False),
    "queue.move": _move,
    "queue.priority": _priority,
    "queue.remove": _on("job", queue.remove),
    "queue.retry": _on("job", queue.retry),
    "run.pause": _on("run", pause_run),
    "run.resume": _on("run", resume_run),
    "run.stop": _on("run", stop_run),
    "run.skip": _on("run", steering.skip_run),
    "run.set": steering.set_run,
    "model.promote": _promote,
    "model.rollback": _rollback,
    "model.pin": _pin,
    "model.delete": _delete,
    "eval.run": _evaluate,
    "report.record": lambda transaction, fields: {"report": record(transaction, fields)},
    "alert.close": _on("incident", incidents.close),
    "alert.mute": _mute,
    "alert.unmute": _unmute,
}


def _readable(folder: Path) -> list[Intent]:
    """Return the pending intents; one that is not an intent at all is put aside."""
    try:
        return pending_intents(folder)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        for path in sorted(folder.glob("*.intent.json")):
            try:
                record = orjson.loads(path.read_bytes())
                if not (isinstance(record["kind"], str) and isinstance(record["fields"], dict)):
                    raise TypeError(path.name)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                log.warning("%s is no intent and is put aside", path)
                path.rename(path.with_suffix(".unreadable"))
        return pending_intents(folder)


def _as_error(intent: Intent, error: Exception) -> dict[str, Any]:
    if isinstance(error, UserError):
        return {"what": error.what, "why": error.why, "remedy": error.remedy, "exit_code": error.exit_code}
    if isinstance(error, StokerError):
        return {"what": str(error), "why": "", "remedy": "", "exit_code": error.exit_code}
    return {"what": f"{intent.kind} can't be carried out: {error!r}", "why": "", "remedy": "", "exit_code": 2}
