"""What follows when a version of a dataset becomes current again: its jobs, and those of the versions after it.

One transaction: the standing of each version, the jobs that leave or enter the queue, and the event that tells of it. The
model versions that trained on what is rolled back stay, and are named.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from stoker.registry import families
from stoker.store import tables as t
from stoker.store.families import rollback_plan, standings
from stoker.store.store import Transaction
from stoker.supervisor import queue


def roll_back(transaction: Transaction, dataset_id: str) -> dict[str, Any]:
    """Make a version of a dataset current again, backwards or forwards; return what was changed."""
    plan = rollback_plan(transaction.connection, dataset_id)
    label = standings(transaction.connection)[dataset_id].label
    for later in plan["rolled_back"]:
        families.set_rolled_back(transaction, later, is_rolled_back=True)
    for job in plan["stopped"]:
        queue.withdraw(transaction, job, f"its dataset was rolled back to {dataset_id}")
    for again in plan["restored"]:
        families.set_rolled_back(transaction, again, is_rolled_back=False)
    for ready in plan["queued"]:
        _queue_again(transaction, ready)
    trained = sorted({version for made in plan["trained_by"].values() for version in made})
    stays = f"; trained on what no longer counts: {', '.join(trained)}" if trained else ""
    out = ", ".join(plan["rolled_back"])
    text = f"{label} is current again" + (f" instead of {out}" if out else "") + stays
    transaction.event("warn", "dataset.rolled-back", text, dataset=dataset_id, **plan)
    return plan


def _queue_again(transaction: Transaction, dataset_id: str) -> None:
    """Queue a restored dataset's job, unless a person had taken it from the queue."""
    run = queue.find_run(transaction, dataset=dataset_id)
    if run is None:
        queue.add_job(transaction, dataset_id)
    elif run.state == "stopped" and run.code != "removed" and queue.get_job(transaction, run.job).is_removed:
        queue.retry(transaction, run.job)


def is_rolled_back(transaction: Transaction, dataset_id: str) -> bool:
    v = t.dataset_versions
    return bool(transaction.scalar(select(v.c.is_rolled_back).where(v.c.dataset == dataset_id)))
