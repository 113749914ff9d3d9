"""How a run with early stopping ends: with the weights and moments of its best evaluation, and an honest count of its rows.

Nothing is trained here. A run that is killed in between resumes, comes to the same end and goes back to the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stoker.errors import Damaged
from stoker.train.checkpoint import step_name
from stoker.train.conductor import Ending
from stoker.train.optimizer import moment_shapes
from stoker.train.segment import Run


def go_back_to_best(run: Run, ending: Ending | None, on_damaged: Callable[[Damaged], None]) -> dict[str, Any] | None:
    """Restore the best checkpoint when the run's last evaluations fell behind it; return what is told of it, else None.

    A best checkpoint that does not verify is told, and the run ends with the weights it has.
    """
    progress, total = run.progress, run.plan.total_steps
    stopped_at = progress.step
    has_fallen_behind = run.settings.train.early_stopping > 0 and progress.gain.num_without > 0
    if has_fallen_behind and progress.is_best_measured and progress.best_step not in (None, stopped_at):
        _restore(run, on_damaged)
    kept = run.progress.step
    if kept == total:
        return None
    reached, rows = _rows_reached(run, kept)
    why = ending.reason if ending is not None else f"the last {progress.gain.num_without} evaluations had no gain"
    reason = (
        f"finished early at step {stopped_at} of {total} with the weights of step {kept}: {why}; "
        f"{rows - reached:,} of {rows:,} rows were not reached"
    )
    return {
        "reason": reason, "stopped_at": stopped_at, "weights_of_step": kept, "total_steps": total,
        "rows_not_reached": rows - reached,
    }  # fmt: skip


def _restore(run: Run, on_damaged: Callable[[Damaged], None]) -> None:
    assert run.progress.best_step is not None
    named = run.optimizer.named
    folder = run.checkpoints.folder / step_name(run.progress.best_step)
    shapes = {name: tuple(parameter.shape) for name, parameter in named.items()}
    try:
        run.restore(run.checkpoints.load(folder, shapes, moment_shapes(named.items())))
    except Damaged as damage:
        on_damaged(damage)


def _rows_reached(run: Run, step: int) -> tuple[int, int]:
    """Return how many new rows the first `step` steps train, and how many there are to train; a row counts once."""
    plan, end = run.plan, run.plan.offsets[step]
    reached = total = 0
    for number, part in enumerate(run.rows.new):
        sequences = plan.item_sequence[:end][plan.item_dataset[:end] == number]
        reached += len(np.unique(part.row_index[sequences]))
        total += len(part.usable_rows)
    return reached, total
