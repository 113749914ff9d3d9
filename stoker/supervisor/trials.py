"""A trial's way: its files are read, its branches queued and trained, then all of them answer the same items.

    reading       until every dataset is read; then the parent and the settings are fixed and each dataset gets a job
    training      until every branch's run is over; two that are done are enough to compare
    evaluating    until the one evaluation of all branches is over

Each step is decided from the store alone and made in one transaction, so a supervisor that starts goes on with it. A trial
promotes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from stoker.errors import NotFound, UsageError
from stoker.registry.lines import line_for
from stoker.registry.trials import OPEN, Trial, find_trials
from stoker.registry.versions import champion
from stoker.store import tables as t
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import queue
from stoker.supervisor.context import Context
from stoker.supervisor.inbox import Inbox

_TRAINABLE = ("ready", "empty", "trained")
_UNREAD = ("accepted", "reading", "waiting")
_RUN_OVER = ("done", "failed", "stopped", "parked")


def begin_trial(context: Context, inbox: Inbox, words: Sequence[dict[str, str]], intent: str) -> str:
    """Take the files of a trial and enter it; the same intent again is the same trial. Return its id.

    Each of `words` has a `path` or a `dataset`. The trial and the files that are new to the lab are entered before any
    of them is read, so none of those is queued by itself.
    """
    taken = [
        word["dataset"] if "dataset" in word else inbox.take(Path(word["path"]), is_kept=True).dataset for word in words
    ]
    with context.store.transaction() as transaction:
        known = find_trials(transaction, t.trials.c.intent == intent)
        return known[0].id if known else _enter(context, transaction, taken, intent)


def advance(context: Context, transaction: Transaction) -> None:
    """Take every open trial as far as it can go."""
    for trial in find_trials(transaction, t.trials.c.state.in_(OPEN)):
        if trial.state == "reading":
            _queue_branches(context, transaction, trial)
        elif trial.state == "training":
            _ask_for_evaluation(transaction, trial)
        else:
            _conclude(transaction, trial)


def _enter(context: Context, transaction: Transaction, datasets: list[str], intent: str) -> str:
    present = {row.id for row in transaction.rows(select(t.datasets.c.id).where(t.datasets.c.id.in_(datasets)))}
    if missing := [dataset for dataset in datasets if dataset not in present]:
        raise NotFound(f"no dataset {missing[0]!r}", "", "run: stoker data list")
    if len(present) < 2 or len(present) < len(datasets):
        raise UsageError("nothing to compare", "a comparison needs two different files at least", "name another file")
    number = transaction.next_number(t.trials)
    trial = f"t{number}"
    settings = context.spec.model_dump(mode="json")
    transaction.execute(
        insert(t.trials).values(
            id=trial, number=number, intent=intent, datasets=datasets, priority=queue.TOP_PRIORITY, state="reading",
            settings=settings, created=transaction.now,
        )
    )  # fmt: skip
    transaction.event("info", "trial.asked", f"{trial} will compare {', '.join(datasets)}", trial=trial)
    return trial


def _queue_branches(context: Context, transaction: Transaction, trial: Trial) -> None:
    d = t.datasets
    states = {
        row.id: row for row in transaction.rows(select(d.c.id, d.c.name, d.c.state).where(d.c.id.in_(trial.datasets)))
    }
    if any(row.state in _UNREAD for row in states.values()):
        return
    unfit = [f"{row.name} ({row.id}) is {row.state}" for row in states.values() if row.state not in _TRAINABLE]
    if unfit:
        _fail(transaction, trial, f"{'; '.join(unfit)}: nothing of it can be trained")
        return
    line = line_for(transaction, context.workspace, trial.spec.model)
    parent = champion(transaction, line.name)
    set_fields(
        transaction, t.trials, trial.id, state="training", model=line.name, parent=parent.version if parent else None
    )
    jobs = [queue.add_job(transaction, dataset, trial.priority, trial=trial.id) for dataset in trial.datasets]
    start = parent.label if parent else "the base"
    transaction.event("info", "trial.queued", f"{trial.id}: {', '.join(jobs)} branch off {start}", trial=trial.id)


def _ask_for_evaluation(transaction: Transaction, trial: Trial) -> None:
    runs = branch_runs(transaction, trial.id)
    if any(run.state not in _RUN_OVER for run in runs):
        return
    done = [run for run in runs if run.state == "done"]
    if len(done) < 2:
        ended = ", ".join(f"{run.id} {run.state}" for run in runs)
        _fail(transaction, trial, f"fewer than two branches came to their end ({ended})")
        return
    number = transaction.next_number(t.evaluations)
    evaluation = f"e{number}"
    transaction.execute(
        insert(t.evaluations).values(
            id=evaluation, number=number, run=None, model=trial.model, version=done[0].version,
            against=[run.version for run in done[1:]], trial=trial.id, state="queued", created=transaction.now,
        )
    )  # fmt: skip
    set_fields(transaction, t.trials, trial.id, state="evaluating", evaluation=evaluation)
    labels = ", ".join(f"{run.model}/v{run.version}" for run in done)
    transaction.event("info", "trial.trained", f"{trial.id}: {evaluation} compares {labels}", trial=trial.id)


def branch_runs(transaction: Transaction, trial: str) -> list[Any]:
    """Return the newest run of each of a trial's jobs, in the order of its datasets."""
    jobs = transaction.rows(select(t.jobs.c.id).where(t.jobs.c.trial == trial).order_by(t.jobs.c.number))
    return [queue.find_run(transaction, job=row.id) for row in jobs]


def _conclude(transaction: Transaction, trial: Trial) -> None:
    e = t.evaluations
    row = transaction.first(select(e.c.state, e.c.reason).where(e.c.id == trial.evaluation))
    assert row is not None, trial.evaluation
    if row.state == "failed":
        _fail(transaction, trial, f"{trial.evaluation} failed: {row.reason}")
    elif row.state == "done":
        set_fields(transaction, t.trials, trial.id, state="done", ended_at=transaction.now)
        text = f"{trial.id} is done; see: stoker eval compare {trial.id}"
        transaction.event("info", "trial.done", text, trial=trial.id, evaluation=trial.evaluation)


def _fail(transaction: Transaction, trial: Trial, reason: str) -> None:
    set_fields(transaction, t.trials, trial.id, state="failed", reason=reason, ended_at=transaction.now)
    transaction.event("warn", "trial.failed", f"{trial.id} failed: {reason}", trial=trial.id)
