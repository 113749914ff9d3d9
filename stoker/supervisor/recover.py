"""What the end of a run's stretch means, and what happens next.

    exit 0 with a published version   done; its evaluation is queued
    75 paused                         paused or stopped as asked; unasked (a signal from outside), it goes on
    76 disk full                      waits until the space it needs is there, then goes on
    77 non-finite, 78 configuration   failed, with the reason; a refused mask proof puts the file into rejected/
    anything else                     a crash: goes on after a wait that doubles, parked after `max_attempts` in a row
                                      that came no further than the one before

Every change here is one transaction with its event. A run that is "running" with no open assignment is one to start.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select

from stoker import units
from stoker.durable import free_bytes, read_manifest
from stoker.errors import Damaged, WorkerExit
from stoker.registry.lines import remember_base
from stoker.registry.versions import find_version, publish
from stoker.store import tables as t
from stoker.store.records import WAITING_CODES, DatasetRecord, RunRecord
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import queue, rejection, room
from stoker.supervisor.context import Context
from stoker.supervisor.ingest import Message
from stoker.supervisor.intake import copy_of
from stoker.supervisor.steering import reject_requests

LEAST_FREE_BYTES = 64 << 20
SCARCE_BYTES = 8 << 20


def run_ended(context: Context, transaction: Transaction, run_id: str, finished: Message) -> None:
    """Act on a run's `finished` message."""
    run = queue.get_run(transaction, run_id)
    exit = finished["exit"]
    reason = finished.get("reason") or ""
    if exit == WorkerExit.DONE:
        _done(context, transaction, run)
    elif exit == WorkerExit.PAUSED:
        _paused(transaction, run)
    elif exit == WorkerExit.DISK_FULL:
        _disk_full(context, transaction, run, finished)
    elif exit == WorkerExit.NON_FINITE:
        _failed(transaction, run, "non-finite", reason)
    elif exit == WorkerExit.BAD_CONFIG:
        _refused(context, transaction, run, finished)
    else:
        run_crashed(context, transaction, run_id, reason or f"exit {exit}")
    ended = queue.get_run(transaction, run_id)
    if ended.state in ("done", "failed", "stopped"):
        reject_requests(transaction, run_id, f"the run was over ({ended.state}) before it could take it up")


def run_crashed(context: Context, transaction: Transaction, run_id: str, reason: str) -> None:
    """Plan the next attempt of a run whose worker was lost, or park it."""
    run = queue.get_run(transaction, run_id)
    if run.wanted is not None:
        _paused(transaction, run)
        return
    if free_bytes(context.workspace.state) < SCARCE_BYTES:
        _disk_full(context, transaction, run, {})  # whatever it died of, another attempt would find no room either
        return
    worker = context.spec.worker
    furthest = max(run.step, run.checkpoint_step)
    has_progressed = furthest > run.progress
    attempts = 0 if has_progressed else run.attempts + 1
    if attempts >= worker.max_attempts:
        text = f"{run_id} is parked: it crashed {attempts} times without coming past step {furthest}; {reason}"
        set_fields(
            transaction, t.runs, run_id, state="parked", code="crash", reason=text, attempts=attempts,
            ended_at=transaction.now,
        )  # fmt: skip
        transaction.event("critical", "run.parked", f"{text}; try again with: stoker queue retry {run.job}", run=run_id)
        return
    wait = worker.backoff_seconds * 2 ** max(attempts - 1, 0)
    set_fields(
        transaction, t.runs, run_id, attempts=attempts, progress=max(furthest, run.progress), reason=reason,
        not_before=transaction.now + wait,
    )  # fmt: skip
    text = f"{run_id} crashed at step {run.step}: {reason}; it goes on in {wait:g} s"
    transaction.event("warn", "run.crashed", text, run=run_id, attempts=attempts)


def wake_waiting(context: Context, transaction: Transaction) -> None:
    """Let runs go on that waited for disk space or memory which is there now."""
    room.wake(context, transaction)
    r = t.runs
    for row in transaction.rows(select(r).where(r.c.state == "paused", r.c.code == "disk-full")):
        if free_bytes(context.workspace.state) >= (row.needed_bytes or LEAST_FREE_BYTES):
            set_fields(transaction, r, row.id, state="running", code=None, reason=None, not_before=0.0)
            transaction.event("info", "disk.free", f"there is space again: {row.id} goes on", run=row.id)


def resume_after_down(transaction: Transaction) -> None:
    """Let runs go on that `stoker down` had paused."""
    r = t.runs
    for row in transaction.rows(select(r.c.id).where(r.c.state == "paused", r.c.code == "down")):
        set_fields(transaction, r, row.id, state="running", code=None, reason=None, not_before=0.0)


def run_let_go(transaction: Transaction, run_id: str) -> None:
    """Pause a run whose worker was ended with the supervisor before it could say so itself."""
    run = queue.get_run(transaction, run_id)
    if run.state == "running" and run.wanted is not None:
        _paused(transaction, run)


def _done(context: Context, transaction: Transaction, run: RunRecord) -> None:
    assert run.model is not None and run.version is not None
    folder = context.workspace.version(run.model, run.version)
    try:
        manifest = read_manifest(folder)
        weights = manifest["weights_sha256"]
    except (Damaged, KeyError) as error:
        run_crashed(context, transaction, run.id, f"it said it was done, but its version is not whole: {error}")
        return
    parent = find_version(transaction, run.model, run.parent)
    earlier = list(parent.datasets) if parent else []
    trained = [*earlier, *(dataset for dataset in [run.dataset] if dataset not in earlier)]
    version = publish(transaction, run, manifest, trained)
    if version.base_sha256:
        remember_base(transaction, run.model, version.base_sha256)
    early = manifest.get("finished_early") or {}
    set_fields(
        transaction, t.runs, run.id, state="done", code="finished-early" if early else None, reason=early.get("reason"),
        wanted=None, phase=None, ended_at=transaction.now,
    )  # fmt: skip
    # A file is trained once a published manifest lists it, whatever the verdict will be.
    if run.dataset in manifest.get("datasets", []):
        set_fields(transaction, t.datasets, run.dataset, state="trained")
    transaction.event(
        "info",
        "run.done",
        f"{run.id} is done: {version.label}, weights {weights[:12]}" + (f"; {early['reason']}" if early else ""),
        run=run.id,
        dataset=run.dataset,
        **early,
    )
    if queue.get_job(transaction, run.job).trial is not None:
        return  # its branches are evaluated together
    number = transaction.next_number(t.evaluations)
    transaction.execute(
        insert(t.evaluations).values(
            id=f"e{number}", number=number, run=run.id, model=run.model, version=run.version, against=[],
            state="queued", created=transaction.now,
        )
    )  # fmt: skip


def _paused(transaction: Transaction, run: RunRecord) -> None:
    if run.wanted is None:
        set_fields(transaction, t.runs, run.id, not_before=0.0)
        transaction.event(
            "warn", "run.interrupted", f"{run.id} was interrupted at step {run.step}; it goes on", run=run.id
        )
        return
    if run.wanted in WAITING_CODES:
        room.paused(transaction, run)
        return
    is_stop = run.wanted in ("stop", "skip")
    values: dict[str, Any] = {"ended_at": transaction.now} if is_stop else {}
    state = "stopped" if is_stop else "paused"
    code = {"stop": "asked", "skip": "skipped", "pause": "asked", "down": "down"}[run.wanted]
    set_fields(transaction, t.runs, run.id, state=state, code=code, reason=None, wanted=None, **values)
    word = "skipped" if code == "skipped" else state
    transaction.event("info", f"run.{word}", f"{run.id} is {word} at step {run.step}", run=run.id)


def _disk_full(context: Context, transaction: Transaction, run: RunRecord, finished: Message) -> None:
    free = free_bytes(context.workspace.state)
    needed = int(finished.get("needed_bytes") or 0) or LEAST_FREE_BYTES
    room = f"{units.size(needed)} needed, {units.size(free)} free at {context.workspace.state}"
    text = f"{run.id} waits for disk space: {room}"
    if run.wanted is not None:
        _paused(transaction, run)
        return
    set_fields(transaction, t.runs, run.id, state="paused", code="disk-full", reason=text, needed_bytes=needed)
    transaction.event("critical", "disk-full", f"{text}; free some, it goes on by itself", run=run.id)


def _failed(transaction: Transaction, run: RunRecord, code: str, reason: str) -> None:
    set_fields(
        transaction, t.runs, run.id, state="failed", code=code, reason=reason, wanted=None, ended_at=transaction.now
    )  # fmt: skip
    transaction.event("critical", "run.failed", f"{run.id} failed: {reason}", run=run.id, dataset=run.dataset)


def _refused(context: Context, transaction: Transaction, run: RunRecord, finished: Message) -> None:
    """Fail a run whose settings or rows are not trainable; a file whose mask proof failed is rejected."""
    what = finished.get("what") or finished.get("reason") or "refused"
    reason = "; ".join(str(finished[name]) for name in ("why", "remedy") if finished.get(name))
    _failed(transaction, run, "bad-config", f"{what}; {reason}" if reason else what)
    if finished.get("error") != "MaskProofFailed":
        return
    row = transaction.first(select(t.datasets).where(t.datasets.c.id == run.dataset))
    assert row is not None
    dataset = DatasetRecord.of(row)
    report = finished.get("report") or rejection.report_text(dataset.name, finished)
    rejection.put_file(context.workspace, copy_of(context, dataset), dataset.name, dataset.file_sha256, report)
    set_fields(transaction, t.datasets, dataset.id, state="rejected", refusal=report)
    transaction.event("warn", "file.rejected", f"{dataset.name} was rejected: {what}", dataset=dataset.id, run=run.id)
