"""Early stopping: when a run's evaluations no longer gain, as numbers alone. It stops nothing itself.

The rule is patience with a least gain (Prechelt 1998, "Early Stopping - But When?"): an evaluation gains when it is lower than
the best so far by more than `min_delta`; after `patience` evaluations in a row without a gain the run is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Gain:
    """The best value that counted as a gain, its step, and how many evaluations since had none. Lower is better."""

    best: float | None = None
    best_step: int | None = None
    num_without: int = 0

    def after(self, step: int, value: float, min_delta: float) -> Gain:
        """Take an evaluation into account; one that is not finite is no gain."""
        if math.isfinite(value) and (self.best is None or value < self.best - min_delta):
            return Gain(value, step)
        return replace(self, num_without=self.num_without + 1)

    def is_over(self, patience: int) -> bool:
        """Tell whether the run should end; a patience of 0 is endless."""
        return 0 < patience <= self.num_without
