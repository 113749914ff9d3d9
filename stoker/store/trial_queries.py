"""What people ask of trials: their branches, how far each is, and which datasets were compared. Reads only."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from stoker.errors import NotFound
from stoker.store import tables as t


def trials(connection: Connection) -> list[dict[str, Any]]:
    """Every trial, oldest first, with its branches in the order in which the datasets were named."""
    return [_trial(connection, row) for row in connection.execute(select(t.trials).order_by(t.trials.c.number))]


def trial(connection: Connection, trial_id: str) -> dict[str, Any]:
    """One trial; NotFound when there is none of this id."""
    row = connection.execute(select(t.trials).where(t.trials.c.id == trial_id)).first()
    if row is None:
        raise NotFound(f"no trial {trial_id!r}", "", "run: stoker train --compare FILE FILE")
    return _trial(connection, row)


def compared_with(connection: Connection, dataset_id: str) -> list[dict[str, Any]]:
    """The trials that a dataset was part of, each with the other datasets."""
    found = connection.execute(select(t.trials.c.id, t.trials.c.datasets).order_by(t.trials.c.number))
    return [
        {"trial": row.id, "datasets": [other for other in row.datasets if other != dataset_id]}
        for row in found
        if dataset_id in row.datasets
    ]


def trial_of_run(connection: Connection, run_id: str) -> str | None:
    """The trial that a run is a branch of, or None."""
    j, r = t.jobs, t.runs
    found: str | None = connection.scalar(select(j.c.trial).join_from(j, r, r.c.job == j.c.id).where(r.c.id == run_id))
    return found


def _trial(connection: Connection, row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id, "state": row.state, "model": row.model, "parent": row.parent, "evaluation": row.evaluation,
        "reason": row.reason, "created": row.created, "ended_at": row.ended_at,
        "branches": [_branch(connection, row.id, dataset) for dataset in row.datasets],
    }  # fmt: skip


def _branch(connection: Connection, trial_id: str, dataset_id: str) -> dict[str, Any]:
    d, j, r = t.datasets, t.jobs, t.runs
    dataset = connection.execute(select(d.c.name, d.c.state).where(d.c.id == dataset_id)).one()
    run = connection.execute(
        select(r)
        .join_from(r, j, j.c.id == r.c.job)
        .where(j.c.trial == trial_id, r.c.dataset == dataset_id)
        .order_by(r.c.number.desc())
        .limit(1)
    ).first()
    return {
        "dataset": dataset_id,
        "name": dataset.name,
        "state": dataset.state if run is None else run.state,
        "run": None if run is None else run.id,
        "version": None if run is None or run.version is None else f"{run.model}/v{run.version}",
    }
