"""The queue: jobs and their runs as rows. A job is an entry; its newest run is how it goes.

A run's state is the job's state: there is no second copy to disagree with. Order is priority, then position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, insert, select

from stoker.errors import NotAllowed, NotFound
from stoker.registry.families import refuse_rolled_back
from stoker.store import tables as t
from stoker.store.records import JobRecord, RunRecord
from stoker.store.store import Transaction, set_fields

TOP_PRIORITY = 1_000_000


@dataclass(frozen=True)
class Only:
    """What alone is trained while one command has the lab: a dataset, or the branches of a trial."""

    dataset: str | None = None
    trial: str | None = None


def add_job(transaction: Transaction, dataset_id: str, priority: int = 0, *, trial: str | None = None) -> str:
    """Queue a dataset's training at the end of its priority, as a trial's branch or not; return the job's id."""
    number = transaction.next_number(t.jobs)
    job_id = f"j{number}"
    position = 1 + int(transaction.scalar(select(func.coalesce(func.max(t.jobs.c.position), 0))))
    transaction.execute(
        insert(t.jobs).values(
            id=job_id,
            number=number,
            dataset=dataset_id,
            priority=priority,
            position=position,
            is_held=False,
            is_removed=False,
            trial=trial,
            created=transaction.now,
        )
    )
    add_run(transaction, job_id, dataset_id)
    return job_id


def add_run(transaction: Transaction, job_id: str, dataset_id: str) -> str:
    """Make a job's run, queued."""
    number = transaction.next_number(t.runs)
    values: dict[str, Any] = {"job": job_id, "dataset": dataset_id, "state": "queued", "created": transaction.now}
    transaction.execute(insert(t.runs).values(id=f"r{number}", number=number, **values))
    return f"r{number}"


def find_run(transaction: Transaction, **where: Any) -> RunRecord | None:
    """Return the newest run whose columns have these values, or None."""
    r = t.runs
    conditions = [r.c[name] == value for name, value in where.items()]
    row = transaction.first(select(r).where(*conditions).order_by(r.c.number.desc()).limit(1))
    return None if row is None else RunRecord.of(row)


def find_own_run(transaction: Transaction, dataset_id: str) -> RunRecord | None:
    """Return the newest run of a dataset that is no trial's branch, or None."""
    r, j = t.runs, t.jobs
    own = select(r).join_from(r, j, j.c.id == r.c.job).where(r.c.dataset == dataset_id, j.c.trial.is_(None))
    row = transaction.first(own.order_by(r.c.number.desc()).limit(1))
    return None if row is None else RunRecord.of(row)


def get_run(transaction: Transaction, run_id: str) -> RunRecord:
    found = find_run(transaction, id=run_id)
    if found is None:
        raise NotFound(f"no run {run_id!r}", "", "run: stoker run list")
    return found


def get_job(transaction: Transaction, job_id: str) -> JobRecord:
    row = transaction.first(select(t.jobs).where(t.jobs.c.id == job_id))
    if row is None:
        raise NotFound(f"no job {job_id!r}", "", "run: stoker queue list")
    return JobRecord.of(row)


def next_run(transaction: Transaction, only: Only | None = None) -> RunRecord | None:
    """Return the queued run whose turn it is, or None: nothing waits, or the queue or its jobs are held.

    `only`: the run of that dataset, or of that trial, held or not.
    """
    if only is not None:
        mine = t.jobs.c.dataset == only.dataset if only.trial is None else t.jobs.c.trial == only.trial
        row = transaction.first(_waiting(with_held=True).where(mine).limit(1))
        return None if row is None else RunRecord.of(row)
    if transaction.get("queue_paused", False):
        return None
    row = transaction.first(_waiting().limit(1))
    return None if row is None else RunRecord.of(row)


def run_after(transaction: Transaction, run_id: str) -> RunRecord | None:
    """Return the run that will be next once `run_id` is over."""
    if transaction.get("queue_paused", False):
        return None
    row = transaction.first(_waiting().where(t.runs.c.id != run_id).limit(1))
    return None if row is None else RunRecord.of(row)


def move(transaction: Transaction, job_id: str, *, before: str | None = None, to: str | None = None) -> None:
    """Put a waiting job before another, or `to` the "first" or "last" place of its priority."""
    job = _waiting_job(transaction, job_id)
    order = [row.job for row in transaction.rows(_waiting(with_held=True)) if row.job != job.id]
    if before is not None:
        other = _waiting_job(transaction, before)
        if other.id == job.id:
            raise NotAllowed(f"{job.id} can't stand before itself", "", "name another job: stoker queue list")
        order.insert(order.index(other.id), job.id)
        set_fields(transaction, t.jobs, job.id, priority=other.priority)
    elif to == "first":
        order.insert(0, job.id)
        top = transaction.scalar(select(func.max(t.jobs.c.priority)).where(t.jobs.c.id.in_(order)))
        set_fields(transaction, t.jobs, job.id, priority=top)
    elif to == "last":
        order.append(job.id)
        low = transaction.scalar(select(func.min(t.jobs.c.priority)).where(t.jobs.c.id.in_(order)))
        set_fields(transaction, t.jobs, job.id, priority=low)
    else:
        raise NotAllowed(f"{job.id} was not moved", "a move needs a place", "say before which job, first or last")
    for position, name in enumerate(order, start=1):
        set_fields(transaction, t.jobs, name, position=position)
    transaction.event("info", "queue.moved", f"{job.id} was moved", job=job.id)


def set_priority(transaction: Transaction, job_id: str, priority: int) -> None:
    """Give a waiting job another priority; larger goes first."""
    job = _waiting_job(transaction, job_id)
    set_fields(transaction, t.jobs, job.id, priority=priority)
    transaction.event("info", "queue.priority", f"{job.id} has priority {priority}", job=job.id)


def hold(transaction: Transaction, job_id: str, *, is_held: bool) -> None:
    """Keep a waiting job from being taken, or let it be."""
    job = _waiting_job(transaction, job_id)
    set_fields(transaction, t.jobs, job.id, is_held=is_held)
    transaction.event(
        "info", "queue.held" if is_held else "queue.released", f"{job.id} is {'held' if is_held else 'free'}"
    )


def remove(transaction: Transaction, job_id: str) -> None:
    """Take a job that is not running out of the queue; its file and rows stay."""
    job = get_job(transaction, job_id)
    run = find_run(transaction, job=job.id)
    assert run is not None
    if run.state == "running":
        raise NotAllowed(f"{job.id} is running as {run.id}", "", f"stop it: stoker run stop {run.id}")
    if run.state in ("done", "failed", "stopped"):
        raise NotAllowed(f"{job.id} is over ({run.state})", "", "run: stoker queue list")
    set_fields(transaction, t.jobs, job.id, is_removed=True)
    set_fields(transaction, t.runs, run.id, state="stopped", code="removed", ended_at=transaction.now)
    transaction.event("warn", "queue.removed", f"{job.id} was removed", run=run.id, job=job.id)


def withdraw(transaction: Transaction, job_id: str, reason: str) -> None:
    """Take a job out of the queue because its rows no longer count; a run that a worker has ends at its next step."""
    run = find_run(transaction, job=job_id)
    assert run is not None
    set_fields(transaction, t.jobs, job_id, is_removed=True)
    if run.state == "running" and has_open_task(transaction, run.id):
        set_fields(transaction, t.runs, run.id, wanted="stop")
    elif run.state in ("queued", "running", "paused", "parked"):
        values = {"state": "stopped", "code": "rolled-back", "reason": reason, "wanted": None}
        set_fields(transaction, t.runs, run.id, **values, ended_at=transaction.now)
    transaction.event("warn", "queue.removed", f"{job_id} was removed: {reason}", run=run.id, job=job_id)


def retry(transaction: Transaction, job_id: str) -> str:
    """Queue a parked, failed or stopped job again; return its run.

    A parked or stopped run goes on where it stands when its turn comes (see `schedule`); a failed one begins anew.
    """
    job = get_job(transaction, job_id)
    run = find_run(transaction, job=job.id)
    assert run is not None
    if run.state not in ("parked", "failed", "stopped"):
        raise NotAllowed(f"{job.id} is {run.state}", "only a parked, failed or stopped job is retried")
    state = transaction.scalar(select(t.datasets.c.state).where(t.datasets.c.id == job.dataset))
    if state == "rejected":
        raise NotAllowed(
            f"{job.dataset} was rejected", "its rows can't be trained", "drop a mended file into the inbox"
        )
    refuse_rolled_back(transaction, job.dataset)
    set_fields(transaction, t.jobs, job.id, is_removed=False, is_held=False)
    if run.state == "failed":
        run_id = add_run(transaction, job.id, job.dataset)
    else:
        run_id = run.id
        cleared: dict[str, Any] = {"attempts": 0, "not_before": 0.0, "code": None, "reason": None, "wanted": None}
        set_fields(transaction, t.runs, run_id, state="queued", ended_at=None, **cleared)
    transaction.event("info", "queue.retried", f"{job.id} is queued again as {run_id}", run=run_id)
    return run_id


def hurry(transaction: Transaction, dataset_id: str) -> None:
    """Bring a dataset that is already known to the head: of the intake, or of the queue; a failed job is retried."""
    set_fields(transaction, t.datasets, dataset_id, priority=TOP_PRIORITY)
    refuse_rolled_back(transaction, dataset_id)
    run = find_own_run(transaction, dataset_id)
    if run is None:
        state = transaction.scalar(select(t.datasets.c.state).where(t.datasets.c.id == dataset_id))
        if state in ("ready", "trained"):  # so far it was only a branch of a trial
            add_job(transaction, dataset_id, TOP_PRIORITY)
        return
    if run.state in ("parked", "failed", "stopped"):
        retry(transaction, run.job)
    if run.state == "paused":
        set_fields(transaction, t.runs, run.id, state="running", code=None, reason=None, wanted=None, not_before=0.0)
    elif run.state not in ("running", "done"):
        set_fields(transaction, t.jobs, run.job, priority=TOP_PRIORITY, is_held=False)


def has_open_task(transaction: Transaction, run_id: str) -> bool:
    """Tell whether a worker has the run."""
    a = t.assignments
    condition = (a.c.subject == run_id, a.c.kind == "train", a.c.state == "given")
    return transaction.first(select(a.c.id).where(*condition)) is not None


def _waiting(*, with_held: bool = False) -> Select[Any]:
    statement = (
        select(t.runs)
        .join_from(t.runs, t.jobs, t.jobs.c.id == t.runs.c.job)
        .where(t.runs.c.state == "queued", t.jobs.c.is_removed.is_(False))
        .order_by(t.jobs.c.priority.desc(), t.jobs.c.position, t.runs.c.number)
    )
    return statement if with_held else statement.where(t.jobs.c.is_held.is_(False))


def _waiting_job(transaction: Transaction, job_id: str) -> JobRecord:
    job = get_job(transaction, job_id)
    run = find_run(transaction, job=job.id)
    if job.is_removed or run is None or run.state != "queued":
        state = "removed" if job.is_removed else run.state if run else "gone"
        raise NotAllowed(f"{job.id} is {state}", "only a waiting job can be changed", "run: stoker queue list")
    return job
