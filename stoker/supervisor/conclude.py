"""After a run: the candidate, its parent and the base answer the same items; the verdict promotes or keeps.

The next run's parent depends on the verdict, so the evaluation comes before the next run. What does not depend on it,
the next run's tokens, is prepared first. A verdict and the promotion it asks for are one transaction. A version whose
evaluation can't be made stays as it is, unproven, and the line goes on from the champion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from stoker import units
from stoker.durable import free_bytes, write_atomic
from stoker.errors import NotFound
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.registry.lineage import counting_refs, dataset_refs, trained_datasets
from stoker.registry.lines import get_line
from stoker.registry.trials import Trial, find_trials
from stoker.registry.versions import champion, find_version, get_version, promote, set_outcome
from stoker.spec.jobs import JOB, BaseRef, EvaluateJob, ItemSet, ModelRef
from stoker.store import tables as t
from stoker.store.records import EvaluationRecord, VersionRecord
from stoker.store.store import Transaction, set_fields
from stoker.supervisor.context import Context
from stoker.supervisor.ingest import Message
from stoker.supervisor.schedule import line_base, prepare_next, version_ref
from stoker.supervisor.workers import Workers, assign
from stoker.tasks.basics.install import NAME as BASICS
from stoker.tasks.basics.install import write_basics

DISK_RETRY_SECONDS = 15.0


def next_evaluation(transaction: Transaction) -> EvaluationRecord | None:
    """Return the evaluation that waits or was cut short, the oldest first."""
    e = t.evaluations
    row = transaction.first(select(e).where(e.c.state.in_(("queued", "running"))).order_by(e.c.number).limit(1))
    return None if row is None else EvaluationRecord.of(row)


def ask_for(transaction: Transaction, model: str, version: int, against: list[int]) -> str:
    """Queue an evaluation asked for by hand; it promotes nothing."""
    for number in (version, *against):
        get_version(transaction, model, number)
    number = transaction.next_number(t.evaluations)
    transaction.execute(
        insert(t.evaluations).values(
            id=f"e{number}", number=number, run=None, model=model, version=version, against=against,
            state="queued", created=transaction.now,
        )
    )  # fmt: skip
    transaction.event(
        "info", "evaluation.asked", f"e{number} will evaluate {model}/v{version}", evaluation=f"e{number}"
    )
    return f"e{number}"


def begin(context: Context, workers: Workers, evaluation: EvaluationRecord) -> None:
    """Give an evaluation to the worker, the next run's preparation before it."""
    worker_id = workers.start()
    with context.store.transaction() as transaction:
        candidate = find_version(transaction, evaluation.model, evaluation.version)
        if candidate is None or candidate.state != "published":
            give_up(transaction, evaluation, f"{evaluation.candidate} is gone")
            return
    if evaluation.run is not None:
        prepare_next(context, workers, candidate)
    folder = context.workspace.evaluation(evaluation.id)
    with context.store.transaction() as transaction:
        job = build_job(context, transaction, evaluation, candidate)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / JOB, job.model_dump_json(indent=2).encode())
        set_fields(transaction, t.evaluations, evaluation.id, state="running", fence=evaluation.fence + 1)
        assignment = assign(transaction, worker_id, "evaluate", evaluation.id, folder, evaluation.fence + 1)
    workers.give(assignment)


def build_job(
    context: Context, transaction: Transaction, evaluation: EvaluationRecord, candidate: VersionRecord
) -> EvaluateJob:
    """Return the evaluation's job: the candidate against its parent (or what was asked) and the base."""
    workspace, spec = context.workspace, context.spec
    base = line_base(context, transaction, candidate.model)
    if evaluation.trial is not None:
        return _trial_job(context, transaction, evaluation, candidate, base)
    numbers = evaluation.against or ([candidate.parent] if candidate.parent is not None else [])
    others = [find_version(transaction, candidate.model, number) for number in numbers]
    against = [
        version_ref(context, other, base) for other in others if other is not None and other.state == "published"
    ]
    return EvaluateJob(
        evaluation=evaluation.id,
        run=evaluation.run,
        candidate=version_ref(context, candidate, base),
        against=(*against, _base_model(transaction, candidate, base)),
        sets=(*_item_sets(context, transaction), *_basics(context)),
        trained=dataset_refs(transaction, workspace, candidate.datasets),
        evaluate=spec.evaluate,
        train=spec.train,
        answers=workspace.answers,
        tokens=workspace.tokens,
        root=workspace.root,
    )


def _trial_job(
    context: Context, transaction: Transaction, evaluation: EvaluationRecord, candidate: VersionRecord, base: BaseRef
) -> EvaluateJob:
    """Return the job of a trial: every branch, the parent and the base, on what is sealed of all branches' data."""
    workspace, model = context.workspace, candidate.model
    (trial,) = find_trials(transaction, t.trials.c.id == evaluation.trial)
    others = [find_version(transaction, model, number) for number in evaluation.against]
    branches = [candidate, *(other for other in others if other is not None and other.state == "published")]
    parent = find_version(transaction, model, trial.parent)
    models = [version_ref(context, version, base) for version in (*branches, *([parent] if parent else []))]
    data = [dataset for version in branches for dataset in version.datasets]
    return EvaluateJob(
        evaluation=evaluation.id,
        candidate=models[0],
        against=(*models[1:], _base_model(transaction, candidate, base)),
        num_branches=len(branches),
        sets=_item_sets(context, transaction, trial),
        trained=dataset_refs(transaction, workspace, list(dict.fromkeys([*data, *trial.datasets]))),
        evaluate=trial.spec.evaluate,
        train=trial.spec.train,
        answers=workspace.answers,
        tokens=workspace.tokens,
        root=workspace.root,
    )


def evaluation_ended(context: Context, transaction: Transaction, evaluation_id: str, messages: list[Message]) -> None:
    """Conclude an evaluation whose worker is done: enter the verdict and promote when it says so."""
    evaluation = _get(transaction, evaluation_id)
    result = _last_result(context, evaluation, messages)
    verdict: dict[str, Any] = result.get("verdict") or {}
    if not verdict:
        retry_or_give_up(context, transaction, evaluation_id, "it ended without a verdict")
        return
    values = {
        "promote": bool(verdict["promote"]),
        "outcome": verdict.get("outcome"),
        "reason": verdict.get("reason") or "",
        "notes": list(verdict.get("notes") or ()),
        "time": transaction.now,
    }
    statement = upsert(t.verdicts).values(evaluation=evaluation.id, **values)
    transaction.execute(statement.on_conflict_do_update(index_elements=["evaluation"], set_=values))
    set_fields(transaction, t.evaluations, evaluation.id, state="done", phase=None, ended_at=transaction.now)
    _act(transaction, evaluation, values)


def retry_or_give_up(context: Context, transaction: Transaction, evaluation_id: str, reason: str) -> None:
    """Plan the next attempt of an evaluation that was cut short, or give it up after `max_attempts`."""
    evaluation = _get(transaction, evaluation_id)
    worker = context.spec.worker
    attempts = evaluation.attempts + 1
    if attempts >= worker.max_attempts:
        give_up(transaction, evaluation, f"it failed {attempts} times: {reason}")
        return
    wait = worker.backoff_seconds * 2 ** (attempts - 1)
    set_fields(
        transaction, t.evaluations, evaluation_id, state="queued", attempts=attempts, not_before=transaction.now + wait
    )
    text = f"{evaluation_id} of {evaluation.candidate} was cut short ({reason}); it is tried again in {wait:g} s"
    transaction.event("warn", "evaluation.crashed", text, evaluation=evaluation_id)


def wait_for_space(context: Context, transaction: Transaction, evaluation_id: str) -> None:
    """Try an evaluation again later that found no space; no attempt is counted."""
    free = free_bytes(context.workspace.state)
    set_fields(
        transaction, t.evaluations, evaluation_id, state="queued", not_before=transaction.now + DISK_RETRY_SECONDS
    )  # fmt: skip
    text = f"{evaluation_id} waits for disk space ({units.size(free)} free at {context.workspace.state})"
    transaction.event("critical", "disk-full", text, evaluation=evaluation_id)


def give_up(transaction: Transaction, evaluation: EvaluationRecord, reason: str) -> None:
    """Fail an evaluation; the champion stays."""
    set_fields(
        transaction, t.evaluations, evaluation.id, state="failed", reason=reason, phase=None, ended_at=transaction.now
    )  # fmt: skip
    text = f"{evaluation.id} of {evaluation.candidate} failed: {reason}; without a verdict the champion stays"
    transaction.event("critical", "evaluation.failed", text, evaluation=evaluation.id)


def _act(transaction: Transaction, evaluation: EvaluationRecord, verdict: dict[str, Any]) -> None:
    candidate = find_version(transaction, evaluation.model, evaluation.version)
    assert candidate is not None
    reason = str(verdict["reason"])
    if evaluation.run is None:
        text = f"{evaluation.id} of {candidate.label}: {reason}"
        transaction.event("info", "verdict", text, evaluation=evaluation.id, version=candidate.label, **_facts(verdict))
        return
    present = champion(transaction, candidate.model)
    is_as_expected = (present.version if present else None) == candidate.parent
    if verdict["promote"] and is_as_expected and candidate.state == "published":
        set_outcome(transaction, candidate, "promoted")
        text = f"verdict on {candidate.label}: {reason}"
        transaction.event("info", "verdict", text, run=candidate.run, version=candidate.label, **_facts(verdict))
        promote(transaction, candidate.model, candidate.version, reason, run=candidate.run)
        return
    set_outcome(transaction, candidate, "kept-back")
    stays = f"the champion stays {present.label}" if present else "the line stays at its base"
    why = reason if is_as_expected else f"{reason}; but the champion was changed by hand meanwhile"
    text = f"verdict on {candidate.label}: {why}; {stays}"
    transaction.event("info", "verdict", text, run=candidate.run, version=candidate.label, **_facts(verdict))


def _facts(verdict: dict[str, Any]) -> dict[str, Any]:
    return {"promote": verdict["promote"], "outcome": verdict["outcome"]}


def _last_result(context: Context, evaluation: EvaluationRecord, messages: list[Message]) -> Message:
    """Return the last result: of this batch, or of an earlier one that a restart had already entered."""
    found = [message for message in messages if message["kind"] == "result"]
    if not found:
        reader = JournalReader(context.workspace.evaluation(evaluation.id) / MESSAGES)
        found = [message for message in reader.read() if message["kind"] == "result"]
    return found[-1] if found else {}


def _get(transaction: Transaction, evaluation_id: str) -> EvaluationRecord:
    row = transaction.first(select(t.evaluations).where(t.evaluations.c.id == evaluation_id))
    if row is None:
        raise NotFound(f"no evaluation {evaluation_id!r}", "", "run: stoker eval list")
    return EvaluationRecord.of(row)


def _base_model(transaction: Transaction, candidate: VersionRecord, base: BaseRef) -> ModelRef:
    line = get_line(transaction, candidate.model)
    return ModelRef(label="base", base=base, weights_sha256=line.base_sha256 or candidate.base_sha256)


def _basics(context: Context) -> tuple[ItemSet, ...]:
    """Return what shows forgetting, unless it is off or the lab has a benchmark of that name, which then is asked instead."""
    workspace = context.workspace
    if context.spec.evaluate.forgetting == "off" or (workspace.benchmarks / f"{BASICS}.jsonl").is_file():
        return ()
    return (ItemSet(name=BASICS, benchmark=write_basics(workspace.basics)),)


def _item_sets(context: Context, transaction: Transaction, trial: Trial | None = None) -> tuple[ItemSet, ...]:
    """Return the sealed rows of everything trained so far and of a trial's data, and every benchmark of the lab."""
    workspace = context.workspace
    d = t.datasets
    trained = {*trained_datasets(transaction), *(trial.datasets if trial else ())}
    sealed = transaction.rows(select(d.c.id).where(d.c.held_out > 0).order_by(d.c.number))
    ordered = [row.id for row in sealed if row.id in trained]
    sets: list[ItemSet] = []
    counting = counting_refs(transaction, workspace, ordered)
    if counting:
        sets.append(ItemSet(name="heldout", heldout=counting))
    benchmarks: list[Path] = sorted(workspace.benchmarks.glob("*.jsonl"))
    return (*sets, *(ItemSet(name=path.stem, benchmark=path) for path in benchmarks))
