"""How much of a run's time may go into looking at it: a share of the steps' own time, by the clock.

It decides when something is looked at and nothing else, so no clock ever changes what is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from stoker.train.conductor import StepFacts


class Budget:
    """`trained_seconds` grows with each step; who looks adds what it took to `spent_seconds`. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.trained_seconds = 0.0
        self.spent_seconds = 0.0

    def after_step(self, facts: StepFacts) -> None:
        self.trained_seconds += facts.seconds

    def allows(self, seconds: float, share: float) -> bool:
        """Tell whether a look of so many seconds keeps all looks within `share` of the steps' time."""
        return self.spent_seconds + seconds <= share * self.trained_seconds
