"""The time that the supervisor was awake, which is how silence is judged.

Neither the wall clock (it is set, it jumps) nor the monotonic one (a stopped or frozen process does not see the time
pass, and finds hours gone) says how long a worker had the chance to speak while someone listened. A gap between two
turns counts as at most LONGEST_TURN_SECONDS: whatever held this process up may have held the worker up too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_TURN_SECONDS = 5.0


class Awake:
    """Counts awake seconds from turn to turn."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last = monotonic()
        self.seconds = 0.0

    def turn(self) -> None:
        """Count the time since the last turn."""
        now = self._monotonic()
        self.seconds += min(max(now - self._last, 0.0), LONGEST_TURN_SECONDS)
        self._last = now
