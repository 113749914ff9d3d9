"""Runs that make room: asked to pause because memory or disk runs out, and let go on when there is room again.

A run is asked by `wanted`, as for any pause; the code says for what it waits. It needs what it held before, and goes on
only below a lower mark than the one at which it was paused, so that it does not swing. Disk: `recover`.
"""

from __future__ import annotations

from sqlalchemy import select

from stoker.analysis.detectors.finding import Finding
from stoker.store import tables as t
from stoker.store.records import WAITING_CODES, RunRecord
from stoker.store.store import Transaction, set_fields
from stoker.supervisor.context import Context
from stoker.supervisor.memory import Memory, gpu_memories, host_memory


def ask_to_make_room(
    transaction: Transaction,
    run: RunRecord,
    code: str,
    needed_bytes: int,
    found: Finding,
    text: str,
    *,
    is_told: bool = True,
) -> None:
    """Ask a running run to pause with a checkpoint, for one of WAITING_CODES, and tell why.

    What is not told now is still said once the run has paused.
    """
    assert code in WAITING_CODES, code
    set_fields(transaction, t.runs, run.id, wanted=code, reason=text, needed_bytes=needed_bytes)
    if is_told:
        text = f"{text}; {run.id} is asked to pause"
        transaction.event(found.severity, found.kind, text, run=run.id, **found.numbers)


def paused(transaction: Transaction, run: RunRecord) -> None:
    """Record that a run has made room."""
    set_fields(transaction, t.runs, run.id, state="paused", code=run.wanted, wanted=None)
    text = f"{run.id} made room at step {run.step}: {run.reason}; it goes on by itself"
    transaction.event("warn", "recovery.paused", text, run=run.id, why=run.wanted)


def wake(context: Context, transaction: Transaction) -> None:
    """Let runs go on for which there is memory again."""
    r = t.runs
    statement = select(r).where(r.c.state == "paused", r.c.code.in_(("memory", "gpu-memory")))
    for row in transaction.rows(statement):
        free = _room(context, row.code, row.needed_bytes or 0)
        if free is None:
            continue
        set_fields(transaction, r, row.id, state="running", code=None, reason=None, not_before=0.0)
        text = f"there is memory again ({free.share:.0%} of {free.name} in use): {row.id} goes on"
        transaction.event("info", "recovery.resumed", text, run=row.id, used=free.used, limit=free.limit)


def _room(context: Context, code: str, needed_bytes: int) -> Memory | None:
    spec = context.spec.guard
    for memory in [host_memory()] if code == "memory" else gpu_memories(None):
        fits = memory.used + needed_bytes <= spec.memory_share * memory.limit
        if fits and memory.share <= spec.memory_resume_share:
            return memory
    return None
