"""What the daily report asks of the store: what happened from `begins` up to `ends`, and what stands open now.

Each function takes an open connection and returns plain dictionaries; none changes anything. Times are seconds since the
epoch, windows are half open. Nothing is counted here that a report does not show with its source.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from stoker.errors import NotFound
from stoker.store import tables as t
from stoker.store.queries import comparisons, lab_value, verdict
from stoker.store.records import plain
from stoker.store.series_queries import load

_TOLD_ELSEWHERE = (
    "file.rejected", "dataset.waiting", "dataset.rolled-back", "queue.removed", "report.failed",
)  # fmt: skip
"""Codes of events that a report shows in their own place, or that a person caused knowingly."""

BEGAN = "began"
"""The lab's value that says when a supervisor first ran (seconds since the epoch)."""

Rows = list[dict[str, Any]]


def first_moment(connection: Connection) -> float | None:
    """When the lab's history begins, or None while it has none; that a report was made is no history."""
    e = t.events
    found = [
        connection.scalar(select(func.min(t.files.c.accepted_at))),
        connection.scalar(select(func.min(e.c.time)).where(e.c.code.not_like("report.%"))),
        lab_value(connection, BEGAN),
    ]
    return min((float(one) for one in found if one is not None), default=None)


def trained_files(connection: Connection, begins: float, ends: float) -> Rows:
    """Every run that was done in the window, by its event's time, with the file it trained; branches of trials too."""
    e, r, d, j = t.events, t.runs, t.datasets, t.jobs
    statement = (
        select(
            e.c.time, r.c.id.label("run"), r.c.model, r.c.version, r.c.step, j.c.trial, d.c.id.label("dataset"),
            d.c.name, d.c.rows_in, d.c.train, d.c.held_out, d.c.duplicate, d.c.quarantined,
        )
        .join_from(e, r, r.c.id == e.c.run)
        .join(d, d.c.id == r.c.dataset)
        .join(j, j.c.id == r.c.job)
        .where(e.c.code == "run.done", e.c.time >= begins, e.c.time < ends)
        .order_by(e.c.id)
    )  # fmt: skip
    return _rows(connection, statement)


def file_events(connection: Connection, begins: float, ends: float) -> Rows:
    """Every file that was accepted or rejected in the window: `code`, `text`, and the dataset where there is one."""
    e, d = t.events, t.datasets
    codes = ("file.accepted", "file.rejected")
    statement = (
        select(e.c.time, e.c.code, e.c.text, e.c.dataset, d.c.name)
        .join_from(e, d, d.c.id == e.c.dataset, isouter=True)
        .where(e.c.code.in_(codes), e.c.time >= begins, e.c.time < ends)
        .order_by(e.c.id)
    )
    return _rows(connection, statement)


def runs_between(connection: Connection, begins: float, ends: float) -> Rows:
    """Every run that had begun before the end and was not over before the beginning, with its file and its trial."""
    r, d, j = t.runs, t.datasets, t.jobs
    statement = (
        select(
            r.c.id, r.c.job, r.c.dataset, r.c.state, r.c.model, r.c.version, r.c.step, r.c.total_steps, d.c.name,
            d.c.train, j.c.trial,
        )
        .join_from(r, d, d.c.id == r.c.dataset)
        .join(j, j.c.id == r.c.job)
        .where(r.c.started_at < ends, or_(r.c.ended_at.is_(None), r.c.ended_at >= begins))
        .order_by(r.c.number)
    )  # fmt: skip
    return _rows(connection, statement)


def steps_between(
    connection: Connection, run_id: str, last_step: int, begins: float, ends: float
) -> dict[str, array[float]]:
    """The steps of a run up to `last_step` that were made in the window: `step`, `loss`, `rows`, `tokens`, `seconds`.

    Columns of one length, ascending by step; NaN: not finite, or not measured. A million steps take some 100 MB.
    """
    made = zip(*load(connection, run_id, "time", last=last_step), strict=True)
    steps = array("q", (step for step, moment in made if begins <= moment < ends))
    found = {"step": array("d", steps)}
    for name in ("loss", "rows", "tokens", "seconds") if steps else ():
        ats, values = load(connection, run_id, name, first=steps[0], last=steps[-1])
        if ats != steps:
            known = dict(zip(ats, values, strict=True))
            values = array("d", (known.get(step, math.nan) for step in steps))
        found[name] = values
    return found


def verdicts_between(connection: Connection, begins: float, ends: float) -> Rows:
    """Every verdict of the window with its evaluation's comparisons."""
    e, v = t.evaluations, t.verdicts
    statement = (
        select(e.c.id, e.c.run, e.c.trial, e.c.model, e.c.version, v.c.time)
        .join_from(e, v)
        .where(v.c.time >= begins, v.c.time < ends)
        .order_by(e.c.number)
    )
    found = _rows(connection, statement)
    return [
        row | {"verdict": verdict(connection, row["id"]), "comparisons": comparisons(connection, row["id"])}
        for row in found
    ]


def champions_at(connection: Connection, moment: float) -> Rows:
    """The champion of each line at a moment, with when and why it became that."""
    c, v = t.champions, t.versions
    last = select(func.max(c.c.id)).where(c.c.time < moment).group_by(c.c.model)
    statement = (
        select(c.c.model, c.c.version, c.c.previous, c.c.reason, c.c.time, v.c.run)
        .join_from(c, v, and_(v.c.model == c.c.model, v.c.version == c.c.version), isouter=True)
        .where(c.c.id.in_(last))
        .order_by(c.c.id)
    )
    return _rows(connection, statement)


def champion_changes(connection: Connection, begins: float, ends: float) -> Rows:
    """Every change of a champion within the window, oldest first."""
    c = t.champions
    statement = select(c.c.model, c.c.version, c.c.previous, c.c.reason, c.c.time)
    return _rows(connection, statement.where(c.c.time >= begins, c.c.time < ends).order_by(c.c.id))


def versions_between(connection: Connection, begins: float, ends: float) -> Rows:
    """Every version published in the window, with what became of it."""
    v = t.versions
    statement = select(v.c.model, v.c.version, v.c.parent, v.c.run, v.c.outcome, v.c.created)
    return _rows(connection, statement.where(v.c.created >= begins, v.c.created < ends).order_by(v.c.created))


def scores_of(connection: Connection, label: str, moment: float) -> Rows:
    """What a version ("main/v3") last scored on each benchmark before a moment, and in which evaluation."""
    c, v = t.comparisons, t.verdicts
    statement = (
        select(c)
        .join_from(c, v, v.c.evaluation == c.c.evaluation)
        .where(or_(c.c.candidate == label, c.c.against == label), v.c.time < moment)
        .order_by(v.c.time)
    )
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in connection.execute(statement):
        score = row.candidate_score if row.candidate == label else row.against_score
        found[(row.benchmark, row.metric)] = {
            "benchmark": row.benchmark, "metric": row.metric, "score": score, "n": row.n,
            "evaluation": row.evaluation, "is_primary": row.is_primary,
        }  # fmt: skip
    return [found[key] for key in sorted(found)]


def incidents_between(connection: Connection, begins: float, ends: float) -> Rows:
    """Every incident that was open at some time of the window, oldest first."""
    i = t.incidents
    is_open = or_(i.c.state == "open", i.c.closed_at.is_(None))  # one that was opened again has its old closed_at
    statement = select(i).where(i.c.opened_at < ends, or_(is_open, i.c.closed_at >= begins))
    return _rows(connection, statement.order_by(i.c.number))


def troubles_between(connection: Connection, begins: float, ends: float) -> Rows:
    """Warnings and worse of the window that belong to no incident: one entry for each code and subject, told by its last."""
    e = t.events
    subject = func.coalesce(e.c.run, e.c.evaluation, e.c.dataset, "lab")
    grouped = (
        select(
            func.max(e.c.id).label("id"), func.count().label("num_events"), func.min(e.c.time).label("opened_at"),
            func.max(e.c.time).label("updated_at"), subject.label("subject"),
        )
        .where(e.c.time >= begins, e.c.time < ends, e.c.severity.in_(("warn", "critical")), e.c.incident.is_(None))
        .where(e.c.code.not_in(_TOLD_ELSEWHERE), e.c.code.not_like("recovery.%"))
        .group_by(e.c.code, subject)
        .subquery()
    )  # fmt: skip
    statement = select(grouped, e.c.code, e.c.severity, e.c.text).join_from(grouped, e, e.c.id == grouped.c.id)
    return _rows(connection, statement.order_by(grouped.c.opened_at, grouped.c.id))


def recoveries_between(connection: Connection, begins: float, ends: float) -> Rows:
    """What was done about trouble within the window: recoveries, runs that went on."""
    e = t.events
    subject = func.coalesce(e.c.run, e.c.evaluation, e.c.dataset, "lab").label("subject")
    is_recovery = or_(e.c.code.like("recovery.%"), e.c.code.in_(("run.resumed", "disk.free", "queue.retried")))
    statement = select(e.c.id, e.c.time, e.c.code, e.c.text, e.c.incident, subject)
    return _rows(connection, statement.where(is_recovery, e.c.time >= begins, e.c.time < ends).order_by(e.c.id))


def refused_steps(connection: Connection) -> dict[str, frozenset[int]]:
    """Return each run's steps that were refused as spikes."""
    e = t.events
    found: dict[str, set[int]] = {}
    for row in _rows(connection, select(e.c.run, e.c.data).where(e.c.code == "step.refused")):
        found.setdefault(row["run"], set()).add(int(row["data"].get("step", 0)))
    return {run: frozenset(steps) for run, steps in found.items()}


def open_matters(connection: Connection, since: float) -> dict[str, Rows]:
    """What waits for a person now: parked runs, runs and evaluations that failed since, waiting files, failed alerts."""
    r, d, j, e, a = t.runs, t.datasets, t.jobs, t.evaluations, t.alerts
    newer = r.alias()
    is_last = ~select(newer.c.id).where(newer.c.job == r.c.job, newer.c.number > r.c.number).exists()
    runs = (
        select(r.c.id, r.c.job, r.c.state, r.c.code, r.c.reason, r.c.step, d.c.name, d.c.state.label("file_state"))
        .join_from(r, d, d.c.id == r.c.dataset)
        .join(j, j.c.id == r.c.job)
        .where(is_last, j.c.is_removed.is_(False))
        .order_by(r.c.number)
    )
    failed = and_(r.c.state == "failed", r.c.ended_at >= since, d.c.state != "rejected")
    evaluations = select(e.c.id, e.c.model, e.c.version, e.c.reason).where(e.c.state == "failed", e.c.ended_at >= since)
    alerts = select(a.c.channel, a.c.error, a.c.title).where(a.c.state == "failed", a.c.created >= since)
    return {
        "parked": _rows(connection, runs.where(r.c.state == "parked")),
        "failed": _rows(connection, runs.where(failed)),
        "paused": _rows(connection, runs.where(r.c.state == "paused", r.c.code == "asked")),
        "short_of_space": _rows(connection, runs.where(r.c.state == "paused", r.c.code == "disk-full")),
        "waiting": _rows(connection, select(d.c.id, d.c.name).where(d.c.state == "waiting").order_by(d.c.number)),
        "evaluations": _rows(connection, evaluations.order_by(e.c.number)),
        "alerts": _rows(connection, alerts.order_by(a.c.id)),
    }


def run_costs(connection: Connection, begins: float, ends: float) -> Rows:
    """What is known of the cost of whole runs that a worker was on within the window, with those stretches.

    `stretches`: [fence, begin, end]; `joules` null: unknown; `rows` those of its steps, done again too.
    """
    c, r = t.run_costs, t.runs
    statement = select(c.c.run, c.c.stretches, c.c.joules, c.c.source, c.c.rows).join_from(c, r).order_by(r.c.number)
    within = [
        (row, sum(max(0.0, min(end, ends) - max(begin, begins)) for _, begin, end in row["stretches"]))
        for row in _rows(connection, statement)
    ]
    return [row | {"seconds_within": seconds} for row, seconds in within if seconds > 0]


def reports(connection: Connection) -> Rows:
    """Every report, oldest first. `path` is that of the HTML page, within the lab."""
    p = t.reports
    return _rows(connection, select(*[c for c in p.c if c.name != "number"]).order_by(p.c.number))


def report(connection: Connection, report_id: str) -> dict[str, Any]:
    """One report; NotFound when there is none of this id."""
    found = [one for one in reports(connection) if one["id"] == report_id]
    if not found:
        raise NotFound(f"no report {report_id!r}", "", "run: stoker report list")
    return found[0]


def _rows(connection: Connection, statement: Select[Any]) -> Rows:
    # The names of columns are a kind of str of SQLAlchemy's own, which orjson takes for no key.
    return [plain(row) for row in connection.execute(statement)]
