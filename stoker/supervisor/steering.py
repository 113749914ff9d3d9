"""What people ask of a run on its way: parameters to set, a step to go back to, its file to be left.

A request is rows of `changes`, one per name: requested, then applied or rejected as the worker says. The lane repeats what is
requested until the worker has answered; a run that no worker has takes it up at its start. What is asked of a run that ends
first is rejected with its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from stoker.errors import NotAllowed, NotFound
from stoker.spec.jobs import Request
from stoker.spec.live import check_changes
from stoker.store import tables as t
from stoker.store.records import RunRecord
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import queue

_OVER = ("done", "failed", "stopped")
_ROLLBACK = "rollback"


def set_run(transaction: Transaction, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a run for other parameters; refused before anything changes when a value breaks a rule or the run is over."""
    run = _going_on(transaction, str(fields["run"]))
    changes = check_changes(fields["changes"])
    _ask(transaction, run, str(fields["request"]), changes)
    return {"request": fields["request"], "changes": changes}


def roll_back_run(transaction: Transaction, folder: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a run to go back to a checkpoint: of a step, 0 for its start, or "best"."""
    run = _going_on(transaction, str(fields["run"]))
    to = fields.get("to", "best")
    steps = [0, *checkpoint_steps(folder)]
    if to != "best" and to not in steps:
        there = ", ".join(map(str, steps))
        raise NotFound(
            f"{run.id} has no checkpoint of step {to}", f"it has those of {there}", "name one of them, or best"
        )
    _ask(transaction, run, str(fields["request"]), {_ROLLBACK: to})
    return {"request": fields["request"]}


def skip_run(transaction: Transaction, run_id: str) -> None:
    """Leave a run's file: its job goes out of the queue, the run ends at its next step, the next one goes on."""
    run = _going_on(transaction, run_id)
    set_fields(transaction, t.jobs, run.job, is_removed=True)
    if run.state == "running" and queue.has_open_task(transaction, run.id):
        set_fields(transaction, t.runs, run.id, wanted="skip")
        return
    set_fields(
        transaction, t.runs, run.id, state="stopped", code="skipped", reason=None, wanted=None, ended_at=transaction.now
    )
    reject_requests(transaction, run.id, "the run was skipped")
    transaction.event("info", "run.skipped", f"{run.id} is skipped at step {run.step}", run=run.id, dataset=run.dataset)


def requested(transaction: Transaction, run_id: str) -> tuple[Request, ...]:
    """Return what was asked of a run and not answered yet, in order."""
    c = t.changes
    found: dict[str, dict[str, Any]] = {}
    for row in transaction.rows(select(c).where(c.c.run == run_id, c.c.state == "requested").order_by(c.c.id)):
        found.setdefault(row.request, {})[row.name] = row.new
    return tuple(
        Request(id=request, kind="rollback", to=changes[_ROLLBACK])
        if _ROLLBACK in changes
        else Request(id=request, kind="set", changes=changes)
        for request, changes in found.items()
    )


def enter_change(transaction: Transaction, run_id: str, message: Mapping[str, Any]) -> None:
    """Enter what a worker made of a request; it says so again at each of its starts."""
    c = t.changes
    key = (c.c.run == run_id, c.c.request == message["request"], c.c.name == message["name"])
    known = transaction.first(select(c.c.state).where(*key))
    if known is not None and known.state == message["state"]:
        return
    answer = {name: message.get(name) for name in ("old", "new", "state", "step", "reason")} | {"at": message["time"]}
    own = {"run": run_id, "request": message["request"], "name": message["name"], "asked_at": message["time"]}
    statement = upsert(c).values(**own, **answer)
    transaction.execute(statement.on_conflict_do_update(index_elements=["run", "request", "name"], set_=answer))
    if message["name"] == _ROLLBACK and message["state"] == "applied":
        set_fields(transaction, t.runs, run_id, step=message["new"], checkpoint_step=message["new"])


def reject_requests(transaction: Transaction, run_id: str, reason: str) -> None:
    """Reject what is still asked of a run that is over."""
    c = t.changes
    still = (c.c.run == run_id, c.c.state == "requested")
    transaction.execute(update(c).where(*still).values(state="rejected", reason=reason, at=transaction.now))


def checkpoint_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a run's folder."""
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").glob("step-*"))


def _going_on(transaction: Transaction, run_id: str) -> RunRecord:
    run = queue.get_run(transaction, run_id)
    if run.state in _OVER or run.wanted in ("stop", "skip"):
        state = run.state if run.state in _OVER else "ending"
        raise NotAllowed(
            f"{run.id} is over ({state})",
            "only a run that goes on, waits or is paused is steered",
            "run: stoker run list",
        )
    return run


def _ask(transaction: Transaction, run: RunRecord, request: str, changes: Mapping[str, Any]) -> None:
    c = t.changes
    for name, new in changes.items():
        statement = upsert(c).values(
            run=run.id, request=request, name=name, new=new, state="requested", asked_at=transaction.now
        )
        transaction.execute(statement.on_conflict_do_nothing())
    words = ", ".join(f"{name} = {new}" for name, new in changes.items())
    transaction.event("info", "run.change-asked", f"{run.id}: asked for {words}", run=run.id, request=request)
