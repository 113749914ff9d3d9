"""What runs have cost, as plain dictionaries: seconds, examples, energy. Money is `analysis.costs.price` of one of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from stoker.store import tables as t


def costs(connection: Connection, run_id: str | None = None) -> list[dict[str, Any]]:
    """Every run that has begun, or one, in order.

    `step_seconds` are those of steps on `device`, steps done again too; `gpu_seconds` the same on a GPU (0 on a CPU, None
    where the device was not recorded); `occupied_seconds` how long a worker was on it; `rows` the examples in those steps.
    `joules` None: unknown, as `source` says.
    """
    statement = (
        select(t.run_costs, t.runs.c.dataset, t.runs.c.model, t.runs.c.version, t.runs.c.state, t.datasets.c.name)
        .join_from(t.run_costs, t.runs)
        .join(t.datasets, t.datasets.c.id == t.runs.c.dataset)
        .order_by(t.runs.c.number)
    )
    if run_id is not None:
        statement = statement.where(t.runs.c.id == run_id)
    return [_cost(row) for row in connection.execute(statement)]


def _cost(row: Row[Any]) -> dict[str, Any]:
    device = row.device
    is_gpu = device is not None and device.startswith("cuda")
    return {
        "run": row.run,
        "dataset": row.dataset,
        "file": row.name,
        "version": f"{row.model}/v{row.version}" if row.version else None,
        "state": row.state,
        "device": device,
        "threads": row.threads,
        "step_seconds": row.gpu_seconds,
        "gpu_seconds": row.gpu_seconds if is_gpu else (None if device is None else 0.0),
        "occupied_seconds": sum(end - begin for _, begin, end in row.stretches) if row.stretches else None,
        "begun": row.stretches[0][1] if row.stretches else None,
        "ended": row.stretches[-1][2] if row.stretches else None,
        "rows": row.rows,
        "tokens": row.tokens,
        "joules": row.joules,
        "source": row.source,
    }
