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
    _count(transaction, run_id, messages, steps)
    if not steps:
        return
    last = steps[-1]
    values: dict[str, Any] = {"step": last["step"], "loss": last.get("loss"), "phase": "train"}
    if last.get("total_steps") is not None:
        values["total_steps"] = last["total_steps"]
    set_fields(transaction, t.runs, run_id, **values)


def enter_started(transaction: Transaction, run_id: str, message: Message) -> None:
    """Note where a run trains, and forget what it had measured beyond the step it goes on from."""
    resumed_from = message.get("resumed_from")
    forget_after(transaction, run_id, -1 if resumed_from is None else resumed_from)
    cost = _cost(transaction, run_id)
    begun = [*cost["stretches"], [message["fence"], message["time"], message["time"]]]
    _put_cost(
        transaction,
        run_id,
        cost | {"device": message.get("device"), "threads": message.get("threads"), "stretches": begun},
    )


def _points(message: Message) -> Iterator[Point]:
    step = message["step"]
    if message["kind"] == "layers":
        yield from ((f"grad_norm/{name}", step, value) for name, value in message["norms"].items())
    elif message["kind"] == "evaluation":
        yield "heldout_loss", step, message["heldout_loss"]
    else:
        yield from ((name, step, message[name]) for name in STEP_NAMES if name in message)


def _count(transaction: Transaction, run_id: str, messages: Sequence[Message], steps: Sequence[Message]) -> None:
    cost = _cost(transaction, run_id)
    for column, field in (("gpu_seconds", "seconds"), ("rows", "rows"), ("tokens", "tokens")):
        cost[column] += sum(step.get(field) or 0 for step in steps)
    last = messages[-1]
    stretches = cost["stretches"]
    if stretches and stretches[-1][0] == last["fence"]:
        stretches = [*stretches[:-1], [*stretches[-1][:2], last["time"]]]
    _put_cost(transaction, run_id, cost | {"stretches": stretches})


def _cost(transaction: Transaction, run_id: str) -> dict[str, Any]:
    row = transaction.first(select(t.run_costs).where(t.run_costs.c.run == run_id))
    if row is not None:
        return dict(row._mapping)
    return {"gpu_seconds": 0.0, "rows": 0, "tokens": 0, "stretches": []}


def _put_cost(transaction: Transaction, run_id: str, values: dict[str, Any]) -> None:
    statement = upsert(t.run_costs).values(**values | {"run": run_id})
    transaction.execute(statement.on_conflict_do_update(index_elements=["run"], set_=values))
