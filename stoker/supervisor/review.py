"""Carrying out what a person decided about rows: into the dataset's file of decisions, then into the counts of the store.

A removed row is counted as quarantined, code `removed-by-review`; rows in = train + held out + duplicate + quarantined holds before and
after, by the table's own constraint. Runs that start later leave it out; a run that has started keeps the job it has.
The dataset itself never changes, and an undone decision leaves no trace but its own record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from stoker.data.dataset import SUMMARY, Dataset
from stoker.data.quality.decisions import Decided, append_decision, append_undo, read_decided
from stoker.errors import NotAllowed, NotFound, UsageError
from stoker.spec.jobs import JOB, TrainJob
from stoker.store import tables as t
from stoker.store.store import Transaction
from stoker.workspace import Workspace

_REASON = "a person removed it"
_STARTED = ("queued", "running", "paused", "parked")


def decide(transaction: Transaction, workspace: Workspace, fields: dict[str, Any]) -> dict[str, Any]:
    """Carry out `verb` ("keep", "remove" or "undo") and return what holds now; a repetition changes nothing."""
    dataset_id, verb, token = str(fields["dataset"]), fields["verb"], str(fields["token"])
    dataset = _dataset(transaction, workspace, dataset_id)
    path = workspace.review(dataset_id)
    number: int | None = None
    if verb == "undo":
        numbers = [int(number) for number in fields["numbers"]]
        for number in numbers:
            append_undo(path, number, transaction.now, f"{token}-{number}")
        undone = [one for one in read_decided(path).decisions if one.number in numbers]
        touched = {row for one in undone for row in one.rows}
        text = f"decision {', '.join(map(str, numbers))} about {dataset.name} is undone"
    elif verb in ("keep", "remove"):
        from stoker.data.quality.choice import choose_rows, split_words  # loads numpy, which an idle supervisor spares

        rows = choose_rows(Dataset(workspace.dataset(dataset_id)), split_words(map(str, fields["rows"])))
        touched = set(rows)
        if verb == "remove":
            _refuse_to_empty(dataset, touched - read_decided(path).removed().keys())
        number = append_decision(path, verb, rows, transaction.now, token)
        done = "removed" if verb == "remove" else "kept"
        some = "1 row" if len(rows) == 1 else f"{len(rows):,} rows"
        text = f"{some} of {dataset.name} {done} by a person (decision {number})"
    else:
        raise UsageError(f"unknown decision {verb!r}", "", "see: stoker data review --help")
    decided = read_decided(path)
    _count(transaction, dataset_id, decided)
    code = {"remove": "rows.removed", "keep": "rows.kept", "undo": "rows.restored"}[verb]
    transaction.event("info", code, text, dataset=dataset_id, decision=number, rows=len(touched))
    return {"number": number, "rows": len(touched), "text": text, "removed": len(decided.removed())} | _trained_by(
        transaction, workspace, dataset_id, touched
    )


def _dataset(transaction: Transaction, workspace: Workspace, dataset_id: str) -> Row[Any]:
    row = transaction.first(select(t.datasets).where(t.datasets.c.id == dataset_id))
    if row is None:
        raise NotFound(f"no dataset {dataset_id}", "", "run: stoker data list")
    if not (workspace.dataset(dataset_id) / SUMMARY).is_file():
        raise NotFound(f"{dataset_id} holds no rows", f"it is {row.state}", f"run: stoker data show {dataset_id}")
    return row


def _refuse_to_empty(dataset: Row[Any], new: set[str]) -> None:
    if new and dataset.state in ("ready", "waiting") and len(new) >= dataset.train:
        raise NotAllowed(
            f"nothing of {dataset.name} would be left to train", "a job without rows can only fail",
            "take its job from the queue: stoker queue remove ID",
        )  # fmt: skip


def _count(transaction: Transaction, dataset_id: str, decided: Decided) -> None:
    """Make the store's rows and counts follow the decisions."""
    q, d = t.row_quarantines, t.datasets
    known = {row.row: row.code for row in transaction.rows(select(q).where(q.c.dataset == dataset_id))}
    removed = decided.removed()
    new = [
        {"dataset": dataset_id, "row": row, "line": line, "code": t.REMOVED_BY_REVIEW, "reason": _REASON}
        for row, line in removed.items()
        if row not in known  # one that proved too long is quarantined already
    ]
    back = [row for row, code in known.items() if code == t.REMOVED_BY_REVIEW and row not in removed]
    if new:
        transaction.execute(insert(q), new)
    for row in back:
        transaction.execute(delete(q).where(q.c.dataset == dataset_id, q.c.row == row))
    moved = len(new) - len(back)
    if moved:
        counts = {"train": d.c.train - moved, "quarantined": d.c.quarantined + moved}
        transaction.execute(update(d).where(d.c.id == dataset_id).values(**counts))


def _trained_by(
    transaction: Transaction, workspace: Workspace, dataset_id: str, rows: set[str]
) -> dict[str, Sequence[str]]:
    """Return the versions that trained any of the rows, those that continue one of these, and the runs under way with them."""
    v, r = t.versions, t.runs
    published = transaction.rows(
        select(v.c.model, v.c.version, v.c.run, v.c.datasets).where(v.c.state == "published").order_by(v.c.created)
    )
    own = {row.id for row in transaction.rows(select(r.c.id).where(r.c.dataset == dataset_id))}
    trained: list[str] = []
    continued: list[str] = []
    for version in published:
        if dataset_id not in version.datasets:
            continue
        is_own = version.run in own and _has_rows(workspace, version.run, dataset_id, rows) is not False
        (trained if is_own else continued).append(f"{version.model}/v{version.version}")
    live = transaction.rows(select(r.c.id).where(r.c.state.in_(_STARTED)).order_by(r.c.number))
    under_way = [run.id for run in live if _has_rows(workspace, run.id, dataset_id, rows)]
    return {"trained_by": trained, "continued_by": continued if trained else [], "under_way": under_way}


def _has_rows(workspace: Workspace, run_id: str, dataset_id: str, rows: set[str]) -> bool | None:
    """Tell whether a run's resolved job trains or may replay any of the rows; None when it has no job yet."""
    try:
        job = TrainJob.model_validate_json((workspace.run(run_id) / JOB).read_bytes())
    except FileNotFoundError:
        return None
    return any(ref.id == dataset_id and bool(rows - set(ref.removed)) for ref in (*job.new, *job.replay))
