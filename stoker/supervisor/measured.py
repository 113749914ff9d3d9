"""What a worker measured, into series and into what its run has cost.

    step          loss, learning_rate, grad_norm, tokens, rows, seconds, epoch, time
    layers        grad_norm/LAYER
    evaluation    heldout_loss

Series hold each step once, the last time it was done; a run's cost counts every time. A run that begins again, from a
checkpoint or from the start, forgets what was measured beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from stoker.store import tables as t
from stoker.store.series import Point, forget_after, put_points
from stoker.store.series_queries import STEP_NAMES
from stoker.store.store import Transaction, set_fields

KINDS = ("step", "layers", "evaluation")
Message = dict[str, Any]


def enter(transaction: Transaction, run_id: str, messages: Sequence[Message]) -> None:
    """Enter what was measured, in bulk."""
    put_points(transaction, run_id, (point for message in messages for point in _points(message)))
    steps = [message for message in messages if message["kind"] == "step"]
    if not steps:
        return
    last = steps[-1]
    values: dict[str, Any] = {"step": last["step"], "loss": last.get("loss"), "phase": "train"}
    if last.get("total_steps") is not None:
        values["total_steps"] = last["total_steps"]
    set_fields(transaction, t.runs, run_id, **values)


def forget_beyond(transaction: Transaction, run_id: str, resumed_from: int | None) -> None:
    """Forget what a run had measured beyond the step that it goes on from; None: it begins anew."""
    forget_after(transaction, run_id, -1 if resumed_from is None else resumed_from)


def count(transaction: Transaction, run_id: str, messages: Sequence[Message]) -> None:
    """Add to what a run has cost: the steps, done again or not, and how long its worker has been on it."""
    if not messages:
        return
    row = transaction.first(select(t.run_costs).where(t.run_costs.c.run == run_id))
    cost: dict[str, Any] = (
        {"gpu_seconds": 0.0, "rows": 0, "tokens": 0, "stretches": []} if row is None else dict(row._mapping)
    )
    stretches = cost["stretches"] = [list(stretch) for stretch in cost["stretches"]]
    for message in messages:
        if message["kind"] == "started":
            cost |= {"device": message.get("device"), "threads": message.get("threads")}
        elif message["kind"] == "step":
            cost["gpu_seconds"] += message.get("seconds") or 0.0
            cost["rows"] += message.get("rows") or 0
            cost["tokens"] += message.get("tokens") or 0
        if not stretches or stretches[-1][0] != message["fence"]:
            stretches.append([message["fence"], message["time"], message["time"]])
        stretches[-1][2] = message["time"]
    statement = upsert(t.run_costs).values(**cost | {"run": run_id})
    transaction.execute(statement.on_conflict_do_update(index_elements=["run"], set_=cost))


def _points(message: Message) -> Iterator[Point]:
    step = message["step"]
    if message["kind"] == "layers":
        yield from ((f"grad_norm/{name}", step, value) for name, value in message["norms"].items())
    elif message["kind"] == "evaluation":
        yield "heldout_loss", step, message["heldout_loss"]
    else:
        yield from ((name, step, message[name]) for name in STEP_NAMES if name in message)
