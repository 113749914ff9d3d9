"""How much of a run's time may go into looking at it: a share of the steps' own time, by the clock.

It decides when something is looked at and nothing else, so no clock ever changes what is trained.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from stoker.train.conductor import StepFacts

_TIMED = 0.9  # of the share; the rest is for what is not timed here: the step's message, detectors, the control file


class Budget:
    """What the steps took, and what looking at them took: who looks does it under `spending`. `clock` is in seconds.

    `reserved_share` of the steps' time is kept for the evaluations, whose steps are fixed.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.trained_seconds = 0.0
        self.trained_tokens = 0
        self.spent_seconds = 0.0
        self.evaluating_seconds = 0.0
        self.reserved_share = 0.0

    def after_step(self, facts: StepFacts) -> None:
        self.trained_seconds += facts.seconds
        self.trained_tokens += facts.tokens

    @property
    def seconds_per_token(self) -> float:
        """What training on a token took so far."""
        return self.trained_seconds / max(1, self.trained_tokens)

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time spent within."""
        began = self.clock()
        try:
            yield
        finally:
            self.spent_seconds += self.clock() - began

    def allows(self, seconds: float, share: float) -> bool:
        """Tell whether a look of so many seconds keeps all looks within `share` of the steps' time; at 1 nothing is too dear."""
        reserved = max(0.0, self.reserved_share * self.trained_seconds - self.evaluating_seconds)
        return share >= 1 or self.spent_seconds + reserved + seconds <= _TIMED * share * self.trained_seconds
