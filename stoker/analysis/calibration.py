"""How often intervals of remaining time hold: recorded moments of real runs, each with what was said and what came.

Pure. A moment is taken at a share of a run; what came is the sum of the seconds of the steps after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stoker.analysis.eta import estimate_eta, estimate_from_past

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Moment:
    """At `share` of a run (0: before its first step), in seconds."""

    share: float
    estimate: float
    low: float
    high: float
    truth: float

    @property
    def is_held(self) -> bool:
        return self.low <= self.truth <= self.high

    @property
    def error(self) -> float:
        """The estimate's distance from the truth, as a share of it."""
        return abs(self.estimate - self.truth) / self.truth


def moments_of_steps(step_seconds: Sequence[float], shares: Sequence[float] = SHARES) -> list[Moment]:
    """Return what would have been said from a run's own steps."""
    found = []
    for share in shares:
        done = int(share * len(step_seconds))
        eta = estimate_eta(step_seconds[:done], len(step_seconds) - done)
        if eta is not None and done < len(step_seconds):
            found.append(Moment(share, eta.seconds, eta.low, eta.high, sum(step_seconds[done:])))
    return found


def moments_of_past(runs: Sequence[tuple[float, float]], most: int = 8) -> list[Moment]:
    """Return what would have been said of each (size, seconds) before its first step, from the runs before it."""
    found = []
    for place in range(1, len(runs)):
        size, truth = runs[place]
        eta = estimate_from_past(runs[max(0, place - most) : place], size)
        if eta is not None and truth > 0:
            found.append(Moment(0.0, eta.seconds, eta.low, eta.high, truth))
    return found


def share_held(moments: Sequence[Moment]) -> float:
    return sum(moment.is_held for moment in moments) / len(moments)
