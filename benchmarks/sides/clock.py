"""The stopwatch every side uses: tokens and seconds of whole optimizer steps, the first few left out."""

from __future__ import annotations

import time

WARM_UP_STEPS = 2


class StepClock:
    """Counts real (not padding) tokens of steps after the warm-up; `is_over` once `seconds` have passed."""

    def __init__(self, seconds: float) -> None:
        self.limit_seconds = seconds
        self.num_steps = 0
        self.tokens = 0
        self.started = 0.0
        self.seconds = 0.0

    def step(self, real_tokens: int) -> None:
        """Call at the end of each optimizer step."""
        self.num_steps += 1
        now = time.perf_counter()
        if self.num_steps == WARM_UP_STEPS:
            self.started = now
        if self.num_steps > WARM_UP_STEPS:
            self.tokens += real_tokens
            self.seconds = now - self.started

    @property
    def is_over(self) -> bool:
        return self.seconds >= self.limit_seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0
