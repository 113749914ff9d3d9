"""What the lab no longer needs: checkpoints of ended runs beyond the disk share, old replies, task and worker folders.

Versions are never deleted here, nor the state of a run that may still go on. The share is of the whole file system that
holds the lab. Checkpoints of done runs go first, then of failed, then of stopped ones, the oldest run first.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import case, select

from stoker.durable import disk_use, free_bytes, retire
from stoker.mailbox.checkpoints import CHECKPOINTS
from stoker.registry.versions import retire_deleted
from stoker.store import tables as t
from stoker.supervisor.context import Context
from stoker.supervisor.inbox import forget_gone, retire_orphans

INTERVAL_SECONDS = 600.0
REPLY_AGE_SECONDS = 86_400.0
NUM_WORKERS_KEPT = 5
LEAST_FREE_BYTES = 64 << 20


class Housekeeping:
    """Runs at the start, now and then, and when space is short."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._due = 0.0

    def tick(self) -> None:
        """Tidy up when it is time."""
        now = self._context.now()
        if now < self._due:
            return
        self._due = now + INTERVAL_SECONDS
        remove_old_replies(self._context.workspace.intents, now)
        self._remove_old_folders()
        keep_disk_share(self._context)
        copy_store(self._context)

    def at_start(self) -> None:
        """Finish what a crash interrupted between the store and the disk."""
        workspace = self._context.workspace
        with self._context.store.transaction() as transaction:
            retire_deleted(transaction, workspace)
            retire_orphans(transaction, workspace.files)
            forget_gone(transaction)
            rejected = transaction.rows(select(t.datasets.c.file_sha256).where(t.datasets.c.state == "rejected"))
        for row in rejected:
            retire(workspace.file(row.file_sha256))

    def _remove_old_folders(self) -> None:
        workspace = self._context.workspace
        a, w, r = t.assignments, t.workers, t.runs
        with self._context.store.transaction() as transaction:
            given = {row.subject for row in transaction.rows(select(a.c.subject).where(a.c.state == "given"))}
            ended = transaction.rows(select(w.c.id).where(w.c.state == "ended").order_by(w.c.number.desc()))
            queued = {row.id for row in transaction.rows(select(r.c.id).where(r.c.state == "queued"))}
        for row in ended[NUM_WORKERS_KEPT:]:
            retire(workspace.worker(row.id))
        for folder in workspace.tasks.glob("prepare-*"):
            if folder.name.removeprefix("prepare-") not in given | queued:
                retire(folder)


def remove_old_replies(folder: Path, now: float) -> None:
    """Remove the replies nobody came back for."""
    for path in folder.glob("*.reply.json"):
        if now - path.stat().st_mtime > REPLY_AGE_SECONDS:
            path.unlink(missing_ok=True)


def copy_store(context: Context) -> bool:
    """Copy the store when the last copy is old enough; return whether it was."""
    hours, copy = context.spec.guard.copy_hours, context.workspace.store_copy
    age = abs(context.now() - copy.stat().st_mtime) if copy.exists() else float("inf")
    if hours == 0 or age < hours * 3600 or not context.store.is_in_place():
        return False
    if free_bytes(copy.parent) < 2 * context.store.path.stat().st_size + LEAST_FREE_BYTES:
        return False  # the space is for the work; there is another time
    context.store.copy_to(copy)
    return True


def keep_disk_share(context: Context) -> list[str]:
    """Delete checkpoints of ended runs while the lab uses more than its share; return those runs."""
    workspace = context.workspace
    allowed = context.spec.retention.disk_share * shutil.disk_usage(workspace.state).total
    used = disk_use(workspace.root)
    freed: list[str] = []
    for run_id in _ended_runs(context):
        if used <= allowed:
            break
        size = _remove_checkpoints(context, run_id)
        if size:
            used -= size
            freed.append(run_id)
    if freed:
        with context.store.transaction() as transaction:
            text = f"the lab used more than {context.spec.retention.disk_share:.0%} of the disk"
            transaction.event("info", "checkpoints.removed", f"{text}: checkpoints of {', '.join(freed)} were removed")
    return freed


def make_room(context: Context) -> None:
    """Remove the checkpoints of runs that are done or failed: something waits for space."""
    freed = [run_id for run_id in _ended_runs(context, ("done", "failed")) if _remove_checkpoints(context, run_id)]
    if freed:
        with context.store.transaction() as transaction:
            text = f"the disk is full: checkpoints of {', '.join(freed)} were removed"
            transaction.event("warn", "checkpoints.removed", text)


def _remove_checkpoints(context: Context, run_id: str) -> int:
    folder = context.workspace.run(run_id) / CHECKPOINTS
    size = disk_use(folder)
    if size:
        retire(folder)
    return size


def _ended_runs(context: Context, states: tuple[str, ...] = ("done", "failed", "stopped")) -> list[str]:
    r = t.runs
    rank = case((r.c.state == "done", 0), (r.c.state == "failed", 1), else_=2)
    statement = select(r.c.id).where(r.c.state.in_(states)).order_by(rank, r.c.number)
    with context.store.transaction() as transaction:
        return [row.id for row in transaction.rows(statement)]
