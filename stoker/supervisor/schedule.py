"""Which run goes next, and the job file it goes with.

One run at a time: a line is a line, each run continues what the one before it proved. A run's job is resolved when it
first starts and stays what it was through every resume; only the fence grows. A queued run that had started before goes
on where it stands while its parent is still the champion; if the line has moved on meanwhile, a new run takes its place.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select

from stoker.durable import write_atomic
from stoker.registry.lineage import counting_refs
from stoker.registry.lines import base_ref, line_for, tiny_folder
from stoker.registry.trials import branch_refs, replay_refs, trial_of
from stoker.registry.versions import champion, find_version
from stoker.spec.jobs import JOB, BaseRef, ModelRef, PrepareJob, TrainJob
from stoker.store import tables as t
from stoker.store.records import AssignmentRecord, RunRecord, VersionRecord
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import queue, steering
from stoker.supervisor.context import Context
from stoker.supervisor.workers import Workers, assign


def begin_next(context: Context, workers: Workers, only: queue.Only | None = None) -> bool:
    """Start the queued run whose turn it is (`only`: that one's); False when none waits."""
    with context.store.transaction() as transaction:
        run = queue.next_run(transaction, only)
        if run is None:
            return False
        if run.model is not None and not _can_go_on(context, transaction, run):
            _replace(transaction, run)
            return True
        if run.model is None:
            _resolve(context, transaction, run)
        set_fields(transaction, t.runs, run.id, state="running", not_before=0.0)
    start_run(context, workers, run.id)
    return True


def start_run(context: Context, workers: Workers, run_id: str) -> None:
    """Give a running run to the worker under the next fence; it goes on from its newest checkpoint."""
    worker_id = workers.start()
    folder = context.workspace.run(run_id)
    with context.store.transaction() as transaction:
        run = queue.get_run(transaction, run_id)
        fence = run.fence + 1
        job = _job(context, transaction, run, fence)
        first = {} if run.fence else {"started_at": transaction.now}
        set_fields(transaction, t.runs, run.id, fence=fence, wanted=None, code=None, reason=None, phase="load", **first)
        assignment = assign(transaction, worker_id, "train", run.id, folder, fence)
        if not run.fence:
            parent = f"{job.parent.label}" if job.parent else f"the base {job.base.name}"
            text = f"{run.id} starts: {job.model_name}/v{job.version} from {parent} on {job.new[0].name}"
            transaction.event("info", "run.started", text, run=run.id, dataset=run.dataset)
    _hand_over(workers, assignment, job)


def give_again(context: Context, workers: Workers, assignment: AssignmentRecord) -> None:
    """Repeat what a crash may have cut short after an assignment was committed."""
    if assignment.kind == "train":
        with context.store.transaction() as transaction:
            job = _job(context, transaction, queue.get_run(transaction, assignment.subject), assignment.fence)
        _hand_over(workers, assignment, job)
    else:
        workers.give(assignment)


def prepare_next(context: Context, workers: Workers, evaluated: VersionRecord) -> None:
    """Have the worker tokenise the rows of the run after this one, once, before it evaluates."""
    with context.store.transaction() as transaction:
        run = queue.run_after(transaction, evaluated.run)
        if run is None or run.model is not None or workers.id is None or _was_prepared(transaction, run.id):
            return
        if trial_of(transaction, run) is not None:
            return  # its parent is not the version that is evaluated
        folder = context.workspace.tasks / f"prepare-{run.id}"
        job = PrepareJob(
            job=_first_job(context, transaction, run, evaluated, evaluated.model, evaluated.version + 1, 0)
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / JOB, job.model_dump_json().encode())
        assignment = assign(transaction, workers.id, "prepare", run.id, folder, 0)
    workers.give(assignment)


def version_ref(context: Context, version: VersionRecord, base: BaseRef) -> ModelRef:
    """Return a version as a worker loads it."""
    return ModelRef.model_validate(
        {
            "label": version.label,
            "base": base,
            "folder": context.workspace.version(version.model, version.version),
            "method": version.method,
            "weights_sha256": version.weights_sha256,
        }
    )


def line_base(context: Context, transaction: Transaction, model: str) -> BaseRef:
    """Return the base of a line as its row records it, whatever the settings say by now."""
    row = transaction.first(select(t.models.c.base, t.models.c.revision).where(t.models.c.name == model))
    assert row is not None, model
    spec = context.spec.model.model_copy(update={"base": row.base, "revision": row.revision})
    return base_ref(context.workspace, spec)


def _hand_over(workers: Workers, assignment: AssignmentRecord, job: TrainJob) -> None:
    folder = Path(assignment.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / JOB, job.model_dump_json(indent=2).encode())
    workers.give(assignment)


def _resolve(context: Context, transaction: Transaction, run: RunRecord) -> None:
    """Decide what a run continues and which version it will make; a branch continues its trial's parent."""
    trial = trial_of(transaction, run)
    if trial is not None and trial.model is not None:
        model, parent = trial.model, trial.parent
    else:
        model = line_for(transaction, context.workspace, context.spec.model).name
        present = champion(transaction, model)
        parent = present.version if present else None
    r = t.runs
    highest = transaction.scalar(select(func.max(r.c.version)).where(r.c.model == model))
    set_fields(transaction, t.runs, run.id, model=model, version=(highest or 0) + 1, parent=parent)


def _job(context: Context, transaction: Transaction, run: RunRecord, fence: int) -> TrainJob:
    """Return the run's job: the one it began with under a new fence, or a fresh one; with what was asked of it meanwhile."""
    asked = steering.requested(transaction, run.id)
    try:
        written = TrainJob.model_validate_json((context.workspace.run(run.id) / JOB).read_bytes())
    except FileNotFoundError:
        assert run.model is not None and run.version is not None
        parent = find_version(transaction, run.model, run.parent)
        written = _first_job(context, transaction, run, parent, run.model, run.version, fence)
    return written.model_copy(update={"fence": fence, "asked": asked})


def _first_job(
    context: Context,
    transaction: Transaction,
    run: RunRecord,
    parent: VersionRecord | None,
    model: str,
    version: int,
    fence: int,
) -> TrainJob:
    workspace = context.workspace
    trial = trial_of(transaction, run)
    spec = context.spec if trial is None else trial.spec
    base = line_base(context, transaction, model)
    new = counting_refs(transaction, workspace, [run.dataset])
    if trial is not None:
        new = branch_refs(transaction, workspace, run.dataset, parent)
    return TrainJob(
        run=run.id,
        fence=fence,
        base=base,
        base_folder=tiny_folder(workspace),
        parent=version_ref(context, parent, base) if parent else None,
        new=new,
        replay=replay_refs(transaction, workspace, parent, trial.datasets if trial else [run.dataset]),
        output=workspace.version(model, version),
        model_name=model,
        version=version,
        model=spec.model,
        train=spec.train,
        retention=spec.retention,
        watch=spec.watch,
        recover=spec.recover,
        tokens=workspace.tokens,
        benchmarks=workspace.benchmarks,
    )


def _can_go_on(context: Context, transaction: Transaction, run: RunRecord) -> bool:
    """Tell whether the line a run began on still stands where it stood; a branch's parent does."""
    if trial_of(transaction, run) is not None:
        return True
    line = line_for(transaction, context.workspace, context.spec.model)
    present = champion(transaction, line.name)
    return run.model == line.name and run.parent == (present.version if present else None)


def _replace(transaction: Transaction, run: RunRecord) -> None:
    text = f"{run.model} has moved on since {run.id} began"
    set_fields(
        transaction, t.runs, run.id, state="stopped", code="moved-on", reason=text, ended_at=transaction.now
    )  # fmt: skip
    new = queue.add_run(transaction, run.job, run.dataset)
    transaction.event("info", "run.replaced", f"{text}: {new} trains its rows anew", run=new)


def _was_prepared(transaction: Transaction, run_id: str) -> bool:
    a = t.assignments
    return transaction.first(select(a.c.id).where(a.c.subject == run_id, a.c.kind == "prepare")) is not None
