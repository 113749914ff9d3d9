"""What people ask of the store, as plain dictionaries with stable fields: the shapes behind every `--json`.

Each function takes an open connection and reads; none changes anything. The field names are an interface.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, literal, or_, select

from stoker.errors import NotFound
from stoker.store import tables as t
from stoker.store.families import datasets_of, keepers, models_of, place_of, standings, words_for
from stoker.store.trial_queries import compared_with, trial_of_run

LIVE_STATES = ("queued", "running", "paused", "parked")
SEVERITIES = ("info", "warn", "critical")
_DATASET = ("id", "name", "state", "format", "rows_in", "train", "held_out", "duplicate", "quarantined")
_COMPARISON = (
    "candidate", "against", "benchmark", "metric", "n", "candidate_score", "against_score", "difference", "low", "high",
    "p_value", "outcome", "minimum_detectable_effect", "p_value_corrected", "is_primary",
)  # fmt: skip
_METRIC = ("step", "loss", "learning_rate", "grad_norm", "tokens", "rows", "seconds", "epoch", "time")


def datasets(connection: Connection) -> list[dict[str, Any]]:
    """Every dataset in the order of acceptance; rows in = train + held out + duplicate + quarantined."""
    rows = connection.execute(select(t.datasets).order_by(t.datasets.c.number))
    found = standings(connection)
    out = keepers(found)
    return [_dataset(row) | {"standing": words_for(found[row.id], out)} for row in rows]


def dataset_detail(connection: Connection, dataset_id: str) -> dict[str, Any]:
    """One dataset with the reasons (code to count), the notes, and the rows quarantined when it was trained or by a person."""
    statement = select(
        t.datasets, t.files.c.bytes, t.files.c.accepted_at, t.files.c.name.label("file")
    ).join_from(t.datasets, t.files)  # fmt: skip
    row = connection.execute(statement.where(t.datasets.c.id == dataset_id)).first()
    if row is None:
        raise NotFound(f"no dataset {dataset_id!r}", "", "run: stoker data list")
    late = list(
        connection.execute(
            select(t.row_quarantines)
            .where(t.row_quarantines.c.dataset == dataset_id)
            .order_by(t.row_quarantines.c.line)
        )
    )
    reasons = Counter(row.reasons) + Counter(found.code for found in late)
    trained = connection.scalars(select(t.runs.c.id).where(t.runs.c.dataset == dataset_id).order_by(t.runs.c.number))
    jobs = connection.scalars(select(t.jobs.c.id).where(t.jobs.c.dataset == dataset_id).order_by(t.jobs.c.number))
    return _dataset(row) | {
        "files": [{"name": row.file, "sha256": row.file_sha256, "rows": row.rows_in, "accepted_at": row.accepted_at}],
        "version": place_of(connection, dataset_id),
        "jobs": list(jobs),
        "models": models_of(connection, dataset_id),
        "compared_with": compared_with(connection, dataset_id),
        "reasons": dict(reasons),
        "notes": list(row.notes),
        "refusal": row.refusal,
        "file": row.file,
        "file_sha256": row.file_sha256,
        "bytes": row.bytes,
        "accepted_at": row.accepted_at,
        "runs": list(trained),
        "quarantined_in_training": [
            {"row": found.row, "line": found.line, "code": found.code, "reason": found.reason, "run": found.run}
            for found in late
            if found.code != t.REMOVED_BY_REVIEW
        ],
        "removed_by_review": [
            {"row": found.row, "line": found.line, "code": found.code, "reason": found.reason}
            for found in late
            if found.code == t.REMOVED_BY_REVIEW
        ],
    }


def runs(connection: Connection) -> list[dict[str, Any]]:
    """Every run in the order of its making."""
    return [_run(row) for row in connection.execute(select(t.runs).order_by(t.runs.c.number))]


def run_detail(connection: Connection, run_id: str) -> dict[str, Any]:
    """One run with why it is in its state, the starts of a worker on it, what was changed on its way, and what happened."""
    row = connection.execute(select(t.runs).where(t.runs.c.id == run_id)).first()
    if row is None:
        raise NotFound(f"no run {run_id!r}", "", "run: stoker run list")
    starts = connection.execute(
        select(t.assignments)
        .where(t.assignments.c.subject == run_id, t.assignments.c.kind == "train")
        .order_by(t.assignments.c.id)
    )
    more = (
        "job", "parent", "phase", "checkpoint_step", "attempts", "code", "reason", "created", "started_at", "ended_at"
    )  # fmt: skip
    c = t.changes
    asked = connection.execute(select(c).where(c.c.run == run_id).order_by(c.c.id))
    told = ("request", "name", "old", "new", "state", "step", "reason", "asked_at", "at")
    return _run(row) | {
        **{name: row._mapping[name] for name in more},
        "changes": [{name: change._mapping[name] for name in told} for change in asked],
        "events": events(connection, run=run_id, limit=1000),
        "starts": [
            {"worker": start.worker, "fence": start.fence, "state": start.state, "exit": start.exit, "time": start.time}
            for start in starts
        ],
    }


def versions(connection: Connection) -> list[dict[str, Any]]:
    """Every published version, by line and number."""
    statement = (
        select(t.versions, t.models.c.champion)
        .join_from(t.versions, t.models)
        .where(t.versions.c.state == "published")
        .order_by(t.models.c.number, t.versions.c.version)
    )
    return [
        {
            "model": row.model,
            "version": row.version,
            "parent": row.parent,
            "run": row.run,
            "champion": row.champion == row.version,
            "weights_sha256": row.weights_sha256,
            "pinned": row.is_pinned,
            "outcome": row.outcome,
            "created": row.created,
        }
        for row in connection.execute(statement)
    ]


def version_detail(connection: Connection, model: str, version: int) -> dict[str, Any]:
    """One version with its datasets, its base's hash and the verdict on it."""
    found = [row for row in versions(connection) if (row["model"], row["version"]) == (model, version)]
    if not found:
        raise NotFound(f"no version {model}/v{version}", "", "run: stoker model list")
    v = t.versions
    row = connection.execute(select(v).where(v.c.model == model, v.c.version == version)).one()
    more = ("method", "base_sha256", "steps", "datasets")
    latest = connection.scalar(
        select(func.max(t.evaluations.c.number)).where(
            t.evaluations.c.model == model, t.evaluations.c.version == version, t.evaluations.c.state == "done"
        )
    )
    return found[0] | {
        **{name: row._mapping[name] for name in more},
        "lineage": datasets_of(connection, model, version),
        "trial": trial_of_run(connection, found[0]["run"]),
        "verdict": verdict(connection, f"e{latest}") if latest else None,
        "comparisons": comparisons(connection, f"e{latest}") if latest else [],
    }


def comparisons(connection: Connection, evaluation_id: str | None = None) -> list[dict[str, Any]]:
    """Every comparison of every evaluation, or of one, oldest first."""
    c, e = t.comparisons, t.evaluations
    statement = select(c).join_from(c, e).order_by(e.c.number, c.c.against, c.c.benchmark, c.c.metric)
    if evaluation_id is not None:
        statement = statement.where(c.c.evaluation == evaluation_id)
    return [{name: row._mapping[name] for name in _COMPARISON} for row in connection.execute(statement)]


def evaluations(connection: Connection) -> list[dict[str, Any]]:
    """Every evaluation with its state and verdict, oldest first."""
    e = t.evaluations
    return [
        {
            "id": row.id,
            "run": row.run,
            "candidate": f"{row.model}/v{row.version}",
            "state": row.state,
            "phase": row.phase,
            "reason": row.reason,
            "created": row.created,
            "ended_at": row.ended_at,
            "verdict": verdict(connection, row.id),
        }
        for row in connection.execute(select(e).order_by(e.c.number))
    ]


def verdict(connection: Connection, evaluation_id: str) -> dict[str, Any] | None:
    """What an evaluation concluded, or None."""
    row = connection.execute(select(t.verdicts).where(t.verdicts.c.evaluation == evaluation_id)).first()
    if row is None:
        return None
    return {name: row._mapping[name] for name in ("promote", "outcome", "reason", "notes", "time")}


def queue(connection: Connection) -> list[dict[str, Any]]:
    """Every job that is not over, in the order in which they will be taken: the live one first, the parked last."""
    rank = case((t.runs.c.state.in_(("running", "paused")), 0), (t.runs.c.state == "queued", 1), else_=2)
    statement = (
        select(t.jobs, t.runs.c.id.label("run"), t.runs.c.state, t.runs.c.reason, t.datasets.c.name)
        .join_from(t.jobs, t.runs, t.runs.c.job == t.jobs.c.id)
        .join(t.datasets, t.datasets.c.id == t.jobs.c.dataset)
        .where(t.runs.c.state.in_(LIVE_STATES), t.jobs.c.is_removed.is_(False))
        .order_by(rank, t.jobs.c.priority.desc(), t.jobs.c.position, t.jobs.c.number)
    )
    return [
        {
            "id": row.id,
            "state": "held" if row.is_held and row.state == "queued" else row.state,
            "priority": row.priority,
            "dataset": row.dataset,
            "name": row.name,
            "run": row.run,
            "reason": row.reason or (f"a branch of trial {row.trial}" if row.trial else None),
        }
        for row in connection.execute(statement)
    ]


def events(
    connection: Connection,
    *,
    after: int = 0,
    limit: int = 100,
    run: str | None = None,
    min_severity: str = "info",
) -> list[dict[str, Any]]:
    """The last `limit` events with an id above `after`, oldest first; `run` leaves those that concern one run."""
    e = t.events
    wanted = SEVERITIES[SEVERITIES.index(min_severity) :]
    condition = and_(e.c.id > after, e.c.severity.in_(wanted))
    if run is not None:
        of_run = select(t.evaluations.c.id).where(t.evaluations.c.run == run)
        condition = and_(condition, or_(e.c.run == run, e.c.evaluation.in_(of_run)))
    rows = connection.execute(select(e).where(condition).order_by(e.c.id.desc()).limit(limit)).all()
    return [{str(name): value for name, value in row._mapping.items()} for row in reversed(rows)]


def metrics(connection: Connection, run_id: str, *, after_step: int = 0) -> list[dict[str, Any]]:
    """One record per step of a run, in order; losses are raw."""
    m = t.metrics
    statement = select(*[m.c[name] for name in _METRIC]).where(m.c.run == run_id, m.c.step > after_step)
    return [dict(row._mapping) for row in connection.execute(statement.order_by(m.c.step))]


def lab_value(connection: Connection, key: str, default: Any = None) -> Any:
    """Return a value of the lab, such as "model" (the current line) or "queue_paused"."""
    row = connection.execute(select(t.lab.c.value).where(t.lab.c.key == key)).first()
    return default if row is None else row[0]


def work(connection: Connection) -> dict[str, Any]:
    """What is going on according to the store alone: the run, the evaluation, the worker, the intake."""
    live = select(t.runs).where(t.runs.c.state.in_(("running", "paused"))).order_by(t.runs.c.number)
    run = connection.execute(live.order_by((t.runs.c.state == literal("running")).desc()).limit(1)).first()
    evaluation = connection.execute(
        select(t.evaluations.c.id, t.evaluations.c.phase)
        .where(t.evaluations.c.state.in_(("queued", "running")))
        .limit(1)
    ).first()
    worker = connection.execute(
        select(t.workers).where(t.workers.c.state == "alive").order_by(t.workers.c.number.desc()).limit(1)
    ).first()
    reading = connection.scalars(
        select(t.datasets.c.name).where(t.datasets.c.state.in_(("accepted", "reading"))).order_by(t.datasets.c.number)
    )
    return {"run": run, "evaluation": evaluation, "worker": worker, "reading": list(reading)}


def _dataset(row: Row[Any]) -> dict[str, Any]:
    assert row.rows_in == row.train + row.held_out + row.duplicate + row.quarantined, row.id
    return {name: row._mapping[name] for name in _DATASET}


def _run(row: Row[Any]) -> dict[str, Any]:
    names = ("id", "state", "model", "version", "dataset", "step", "total_steps", "loss")
    return {name: row._mapping[name] for name in names}
