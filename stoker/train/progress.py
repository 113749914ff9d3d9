"""How far a run has come, and how it fits in memory: the small part of a checkpoint's state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_TAIL = 50


@dataclass
class Progress:
    """`step` counts finished optimizer steps, skipped ones included. Losses are nats per trained token.

    `leg` counts the rollbacks before (see `course`); `watch` is the watch's state at the last checkpoint. `refused` are the last
    steps in a row that were not applied as spikes, `num_left_out` the batches put aside, `is_unlimited`: spikes are applied.
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

    def close_stretch(self) -> float | None:
        """End the stretch between two checkpoints: return its mean loss, and remember the step if it is the best."""
        mean = self.loss_sum / self.loss_count if self.loss_count else None
        self.loss_sum, self.loss_count = 0.0, 0
        is_doubtful = bool(self.refused) or self.num_skipped_in_a_row > 0  # the weights may be what is wrong
        if mean is not None and not is_doubtful and (self.best_loss is None or mean < self.best_loss):
            self.best_loss, self.best_step = mean, self.step
        return mean

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Progress:
        """Read it back; TypeError when it is something else."""
        return cls(**record)


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
