"""How far a run has come, and how it fits in memory: the small part of a checkpoint's state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from stoker.analysis.early_stopping import Gain

_TAIL = 50
_WORSE = 1.1
"""A stretch's mean loss is worse beyond this times the best one; harder rows alone stay below."""


@dataclass
class Progress:
    """`step` counts finished optimizer steps, skipped ones included. Losses are nats per trained token.

    `leg` counts the rollbacks before (see `course`); `watch` is the watch's state at the last checkpoint. `refused` are the last
    steps in a row that were not applied as spikes, `num_left_out` the batches put aside, `is_unlimited`: spikes are applied.

    `best_loss` is the best checkpoint's `measured` once one was saved at an evaluation (`is_best_measured`), and until then the
    mean training loss of the stretch before it. `measured` is what the evaluation at `evaluated_step` found: the held-out
    loss, or 1 less the score of the benchmark that the run stops by.
    """

    step: int = 0
    tokens: int = 0
    rows: int = 0
    num_skipped: int = 0
    num_skipped_in_a_row: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    last_losses: list[float] = field(default_factory=list)
    leg: int = 0
    watch: dict[str, Any] | None = None
    refused: list[int] = field(default_factory=list)
    num_left_out: int = 0
    is_unlimited: bool = False
    is_best_measured: bool = False
    evaluated_step: int = 0
    measured: float | None = None
    gain: Gain = field(default_factory=Gain)

    def add(self, loss: float, norm: float, tokens: int, rows: int, limit: float = math.inf) -> bool:
        """Count a finished step; return whether it was applied: finite, and its loss within the limit."""
        is_finite = math.isfinite(loss) and math.isfinite(norm)
        is_applied = is_finite and loss <= limit
        self.step += 1
        self.tokens += tokens
        self.rows += rows
        self.num_skipped_in_a_row = 0 if is_finite else self.num_skipped_in_a_row + 1
        if is_finite and not is_applied:
            self.refused = [*self.refused, self.step]
        if is_applied:
            self.loss_sum += loss
            self.loss_count += 1
            self.last_losses = [*self.last_losses, loss][-_TAIL:]
        else:
            self.num_skipped += 1
        return is_applied

    def record_evaluation(self, step: int, measured: float, min_delta: float) -> None:
        """Remember what a step's evaluation found; NaN when it could not be computed."""
        self.evaluated_step, self.measured = step, measured if math.isfinite(measured) else None
        self.gain = self.gain.after(step, measured, min_delta)

    @property
    def is_new_best(self) -> bool:
        """Tell whether this very step was evaluated, and no checkpoint measured as low."""
        if self.measured is None or self.evaluated_step != self.step:
            return False
        return not self.is_best_measured or self.best_loss is None or self.measured < self.best_loss

    def close_stretch(self) -> float | None:
        """End the stretch between two checkpoints: return its mean loss, and remember the step if it is the best."""
        mean = self.loss_sum / self.loss_count if self.loss_count else None
        self.loss_sum, self.loss_count = 0.0, 0
        is_doubtful = bool(self.refused) or self.num_skipped_in_a_row > 0  # the weights may be what is wrong
        if self.is_new_best and not is_doubtful and not self._is_worse(mean):
            self.best_loss, self.best_step, self.is_best_measured = self.measured, self.step, True
        elif mean is None or is_doubtful or self.is_best_measured:
            return mean
        elif self.best_loss is None or mean < self.best_loss:
            self.best_loss, self.best_step = mean, self.step
        return mean

    def _is_worse(self, mean: float | None) -> bool:
        """Tell whether training fell behind its best stretch before anything was measured.

        The first evaluation has none to compare with: in a run that goes wrong it is no place to go back to.
        """
        is_first = not self.is_best_measured and self.best_loss is not None
        return is_first and mean is not None and mean > _WORSE * cast(float, self.best_loss)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Progress:
        """Read it back; TypeError when it is something else."""
        return cls(**{**record, "gain": Gain(**record.get("gain", {}))})


@dataclass(frozen=True)
class Memory:
    """How a step is made to fit: parts it is split into, and whether activations are computed again."""

    accumulation: int
    is_checkpointing: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Memory:
        """Read it back; TypeError when it is something else."""
        return cls(**record)
