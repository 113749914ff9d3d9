"""`stoker train FILE`: one file's way to its verdict, in this process, or through the supervisor that is running.

Without a supervisor this process takes the lab itself, reads nothing from the inbox and starts no other job. With one,
the file is handed to it at the head of the queue and followed.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from stoker.errors import Busy, NoSupervisor, UserError
from stoker.locks import is_locked
from stoker.mailbox.intents import await_reply, post_intent
from stoker.spec.lab import LabSpec
from stoker.spec.reading import read_settings
from stoker.store import queries, trial_queries
from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.store.records import WAITING_CODES, Event
from stoker.supervisor import queue
from stoker.supervisor.context import Context, MessageListener
from stoker.supervisor.holding import hold
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.supervisor import Desk, Supervisor
from stoker.supervisor.trials import begin_trial
from stoker.workspace import Workspace

EventListener = Callable[[Event], None]
_Found = TypeVar("_Found")
FOLLOW_SECONDS = 0.2
REPLY_SECONDS = 60.0
_OVER = ("done", "failed", "stopped", "parked", "paused")


@dataclass(frozen=True)
class Outcome:
    """Where a file got to. `state`: the run's state, or "rejected", "empty", "kept" (preference rows), "waiting" (a low score), or "interrupted" before a run began."""

    dataset: str
    state: str
    run: str | None
    model: str | None
    version: int | None
    verdict: dict[str, Any] | None
    reason: str | None


def train_file(
    workspace: Workspace,
    path: Path,
    on_event: EventListener | None = None,
    *,
    on_message: MessageListener | None = None,
    stop: threading.Event | None = None,
    spec: LabSpec | None = None,
) -> Outcome:
    """Train one file to its verdict and return what became of it; InvalidInput when it can't be taken at all."""
    stop = stop or threading.Event()
    supervisor = Supervisor(
        workspace, spec or read_settings(workspace.settings), on_event=on_event, on_message=on_message
    )  # fmt: skip
    workspace.create()
    try:
        with hold(workspace) as store:
            return _train_here(supervisor.context(store), path, stop)
    except Busy:
        if not is_locked(workspace.lock):
            raise
    return _train_there(workspace, path, on_event, stop)


def outcome(connection: Connection, dataset_id: str) -> Outcome | None:
    """Return what became of a dataset, or None while something is still to come."""
    d, r, e = t.datasets, t.runs, t.evaluations
    dataset = connection.execute(select(d.c.state, d.c.refusal).where(d.c.id == dataset_id)).one()
    own = (
        select(r)
        .join_from(r, t.jobs, t.jobs.c.id == r.c.job)
        .where(r.c.dataset == dataset_id, t.jobs.c.trial.is_(None))
    )
    run = connection.execute(own.order_by(r.c.number.desc()).limit(1)).first()
    if run is None:
        if dataset.state not in ("rejected", "empty", "kept", "waiting"):
            return None
        return Outcome(dataset_id, dataset.state, None, None, None, None, dataset.refusal)
    judged = connection.execute(select(e).where(e.c.run == run.id).order_by(e.c.number.desc()).limit(1)).first()
    if run.state not in _OVER or (judged is not None and judged.state in ("queued", "running")):
        return None
    if run.state == "paused" and run.code in WAITING_CODES:
        return None
    verdict = queries.verdict(connection, judged.id) if judged is not None else None
    reason = run.reason or (judged.reason if judged is not None else None)
    return Outcome(dataset_id, run.state, run.id, run.model, run.version, verdict, reason)


def _train_here(context: Context, path: Path, stop: threading.Event) -> Outcome:
    taken = Inbox(context).take(path, priority=queue.TOP_PRIORITY, is_kept=True)
    desk = Desk(context, only=queue.Only(dataset=taken.dataset))
    store = context.store
    with store.transaction() as transaction:
        if not taken.is_new:
            queue.hurry(transaction, taken.dataset)
        known = outcome(transaction.connection, taken.dataset)
    if known is not None and known.state != "paused":
        return known

    def is_over() -> bool:
        with store.transaction() as transaction:
            return outcome(transaction.connection, taken.dataset) is not None

    desk.attend(stop, is_over)
    with store.transaction() as transaction:
        found = outcome(transaction.connection, taken.dataset)
    return found or Outcome(taken.dataset, "interrupted", None, None, None, None, None)


def _train_there(workspace: Workspace, path: Path, on_event: EventListener | None, stop: threading.Event) -> Outcome:
    """Hand the file to the running supervisor and follow it."""
    reader = Reader(workspace)
    last = _last_event(reader)
    dataset = _ask(workspace, "train", path=str(path.resolve()))["dataset"]
    found = _follow(workspace, reader, last, on_event, stop, lambda: reader.ask(outcome, dataset))
    if found is not None:
        return found
    return Outcome(dataset, "interrupted", None, None, None, None, "the supervisor has it; see: stoker status")


def train_trial(
    workspace: Workspace,
    asked: list[dict[str, str]],
    on_event: EventListener | None = None,
    *,
    on_message: MessageListener | None = None,
    stop: threading.Event | None = None,
) -> str:
    """Train files (`path`) and datasets (`dataset`) as branches of one parent and compare them; return the trial's id.

    It is over on return, or waits for a person, unless `stop` was set.
    """
    stop = stop or threading.Event()
    supervisor = Supervisor(workspace, read_settings(workspace.settings), on_event=on_event, on_message=on_message)
    workspace.create()
    try:
        with hold(workspace) as store:
            return _trial_here(supervisor.context(store), asked, stop)
    except Busy:
        if not is_locked(workspace.lock):
            raise
    reader = Reader(workspace)
    last = _last_event(reader)
    trial = str(_ask(workspace, "compare", items=asked)["trial"])
    _follow(workspace, reader, last, on_event, stop, lambda: reader.ask(_trial_is_over, trial) or None)
    return trial


def _trial_here(context: Context, asked: list[dict[str, str]], stop: threading.Event) -> str:
    trial = begin_trial(context, Inbox(context), asked, uuid.uuid4().hex)

    def is_over() -> bool:
        with context.store.transaction() as transaction:
            return _trial_is_over(transaction.connection, trial)

    Desk(context, only=queue.Only(trial=trial)).attend(stop, is_over)
    return trial


def _trial_is_over(connection: Connection, trial: str) -> bool:
    """Tell whether a trial is done or failed, or waits for a person to approve one of its files."""
    found = trial_queries.trial(connection, trial)
    is_waiting = found["state"] == "reading" and any(one["state"] == "waiting" for one in found["branches"])
    return found["state"] in ("done", "failed") or is_waiting


def _last_event(reader: Reader) -> int:
    return max((event["id"] for event in reader.events(limit=1)), default=0)


def _ask(workspace: Workspace, kind: str, **fields: Any) -> dict[str, Any]:
    """Ask the running supervisor and return its answer; its refusal is raised as it was there."""
    reply = await_reply(workspace.intents, post_intent(workspace.intents, kind, **fields), REPLY_SECONDS)
    if reply is None:
        raise NoSupervisor
    if reply["error"]:
        error = reply["error"]
        refusal = UserError(error["what"], error["why"], error["remedy"])
        refusal.exit_code = error["exit_code"]
        raise refusal
    result: dict[str, Any] = reply["result"]
    return result


def _follow(
    workspace: Workspace,
    reader: Reader,
    last: int,
    on_event: EventListener | None,
    stop: threading.Event,
    find: Callable[[], _Found | None],
) -> _Found | None:
    """Tell the events since `last` until `find` finds something; None when the supervisor or the caller ends before."""
    while True:
        for event in reader.events(after=last):
            last = event["id"]
            if on_event is not None:
                on_event(Event.of(event))
        found = find()
        if found is not None:
            return found
        if stop.is_set() or not is_locked(workspace.lock):
            return None
        time.sleep(FOLLOW_SECONDS)
