"""What a training loss tells from step to step: not finite, spike, outlier, divergence, plateau.

Windows (steps from the fault to the finding, once the baseline has `MIN_STEPS` applied steps):
non-finite and loss-spike in that step; loss-outlier in that step; divergence within baseline_steps / 2 +
divergence_steps of a lasting rise; plateau within its own length and one baseline more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from stoker.analysis.detectors.baseline import Baseline
from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.latch import Latches
from stoker.analysis.trend import theil_sen
from stoker.spec.watching import WatchSpec

MIN_STEPS = 16
"""A younger baseline judges nothing. With 16 values the median is within half a sigma, nine times of ten."""

_NUM_EARLY = 8
_NUM_UNTOUCHED = 2
_HEADROOM = 1.75
_NOT_LEARNED = 2.0
_RATIO_WINDOWS = 8
_WHOLE_NAT = 1.0
_NUM_CRESTS = 4
_LEAST_SIGMA_SHARE = 0.02
_FALLS_AGAIN = 5.0


class Losses:
    """Takes each step's loss (nats per trained token). The thresholds are those of [watch].

    A spike is above twice the baseline (a rise of 100 %), beyond six robust standard deviations (Iglewicz and
    Hoaglin, 1993, take 3.5 for one look; a run looks thousands of times), above it by an absolute floor, since a loss
    near zero doubles by chance, and three quarters above the second highest of the window and the second highest
    multiple of its own baseline among the last 256 losses: small batches and two kinds of rows have a long tail that is
    no spike. A loss that is not above those the run began with may be of rows that are not learned yet, such as the
    few rows of an earlier file that are mixed in: it spikes from twice that rise on. What spikes enters the baseline only up to the limit.
    """

    def __init__(self, spec: WatchSpec, latches: Latches, state: Mapping[str, Any] | None = None) -> None:
        given = state or {}
        self._spec, self._latches = spec, latches
        self._baseline = Baseline(spec.baseline_steps, given.get("baseline", ()))
        self._ratios = Baseline(_RATIO_WINDOWS * spec.baseline_steps, given.get("ratios", ()))
        self._first: list[float] = list(given.get("first", ()))
        self._best: float | None = given.get("best")
        self._num_above = int(given.get("num_above", 0))
        self._levels: list[float] = list(given.get("levels", ()))
        self._crests: list[float] = list(given.get("crests", ()))
        self._num_since_level = int(given.get("num_since_level", 0))
        self._num_not_finite = int(given.get("num_not_finite", 0))
        self._limit: float | None = None

    @property
    def level(self) -> float | None:
        """The median of the last applied steps, None while they are few."""
        return self._baseline.median() if len(self._baseline) >= MIN_STEPS else None

    def limit(self) -> float:
        """Return the loss above which the next step is a spike; infinity while the baseline is young."""
        if self._limit is None:
            self._limit = self._new_limit()
        return self._limit

    def after_step(self, step: int, loss: float, grad_norm: float, is_applied: bool) -> list[Finding]:
        """Judge a step by those before it, then take it in."""
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            return self._not_finite(step, loss)
        self._num_not_finite = 0
        limit = self.limit()
        found = self._spike(step, loss, limit) or self._outlier(step, loss)
        if not is_applied:
            return found
        self._take(loss, limit)
        return [*found, *self._divergence(step), *self._plateau(step)]

    def restart(self) -> None:
        """Forget the window. The best level stays: it is where the run went back to."""
        self._baseline.clear()
        self._ratios.clear()
        if self._best is None:
            self._first.clear()
        self._levels.clear()
        del self._crests[-1:]  # it may be of what went wrong
        self._num_above = self._num_since_level = self._num_not_finite = 0
        self._limit = None

    def to_json(self) -> dict[str, Any]:
        return {
            "baseline": self._baseline.to_json(), "ratios": self._ratios.to_json(),
            "first": list(self._first), "best": self._best,
            "num_above": self._num_above, "levels": list(self._levels), "num_since_level": self._num_since_level,
            "num_not_finite": self._num_not_finite, "crests": list(self._crests),
        }  # fmt: skip

    def _new_limit(self) -> float:
        level = self.level
        if level is None:
            return math.inf
        spec, tail = self._spec, self._baseline.second_highest()
        if len(self._ratios) >= MIN_STEPS:
            tail = max(tail, level * self._ratios.second_highest())
        sigmas = spec.spike_sigmas * self._baseline.sigma()
        rise = level * (1 + spec.spike_rise)
        not_learned = min(level * (1 + _NOT_LEARNED * spec.spike_rise), self._beginning())
        return max(rise, not_learned, level + sigmas, level + spec.spike_floor, _HEADROOM * tail)

    def _beginning(self) -> float:
        """Return the highest of the first losses but one: what rows lose that are not learned yet."""
        return sorted(self._first)[-2] if len(self._first) > 1 else 0.0

    def _not_finite(self, step: int, loss: float) -> list[Finding]:
        self._num_not_finite += 1
        if not self._latches.fires_alone("non-finite", True):
            return []
        what = "gradient" if math.isfinite(loss) else "loss"
        text = f"The {what} of step {step} is not finite ({self._num_not_finite} in a row)."
        return [Finding("non-finite", "warn", step, text, {"in_a_row": self._num_not_finite})]

    def _spike(self, step: int, loss: float, limit: float) -> list[Finding]:
        level = self.level
        if level is None or not self._latches.fires_alone("loss-spike", loss > limit):
            return []
        text = (
            f"The loss of step {step} is {loss:.4g}, {_percent(loss, level)} the median {level:.4g} of the "
            f"{len(self._baseline)} steps before (limit {limit:.4g})."
        )
        return [Finding("loss-spike", "warn", step, text, {"loss": loss, "baseline": level, "limit": limit})]

    def _outlier(self, step: int, loss: float) -> list[Finding]:
        level = self.level
        if level is None or not self._baseline.is_full:
            return []
        sigma = max(self._baseline.sigma(), _LEAST_SIGMA_SHARE * level)
        z = (loss - level) / sigma if sigma else 0.0
        if not self._latches.fires_alone("loss-outlier", abs(z) > self._spec.outlier_sigmas):
            return []
        text = (
            f"The loss of step {step} is {loss:.4g}: {abs(z):.1f} robust standard deviations "
            f"{'above' if z > 0 else 'below'} the median {level:.4g}."
        )
        return [Finding("loss-outlier", "info", step, text, {"loss": loss, "baseline": level, "z": z})]

    def _take(self, loss: float, limit: float) -> None:
        level = self.level
        if level and loss <= limit:
            self._ratios.add(loss / level)
        if len(self._first) < MIN_STEPS and self._best is None:
            self._first.append(min(loss, limit))
        self._baseline.add(min(loss, limit))
        self._limit = None

    def _divergence(self, step: int) -> list[Finding]:
        found = self._early_divergence(step) if self._best is None else []
        return found or self._lasting_divergence(step)

    def _early_divergence(self, step: int) -> list[Finding]:
        """Look twice, at the 8th and at the 16th step: a rate far too high breaks a model before there is a baseline.

        At the 8th the last four losses are all above the first two, which a warm-up hardly touches; at the 16th the run has
        not once come back to its very first loss.
        """
        first = self._first
        if len(first) == _NUM_EARLY:
            before, since = max(first[:_NUM_UNTOUCHED]), first[_NUM_EARLY // 2 :]
        elif len(first) == MIN_STEPS:
            before, since = first[0], first[1:]
        else:
            return []
        if not self._latches.fires("divergence", min(since) > before + self._spec.spike_floor, is_off=False):
            return []
        text = (
            f"The loss diverges from the start: it was {before:.4g} and was {min(since):.4g} or more in each of the last "
            f"{len(since)} steps."
        )
        return [Finding("divergence", "critical", step, text, {"level": min(since), "best": before})]

    def _lasting_divergence(self, step: int) -> list[Finding]:
        """Compare the level with its best, and until there is one with the first losses.

        Half of the best, but a whole nat is enough: a model that starts at 8 nats has diverged at 9.
        """
        level = self.level
        if level is None:
            return []
        best = max(self._first[:_NUM_UNTOUCHED]) if self._best is None else self._best
        margin = max(self._spec.spike_floor, min(self._spec.divergence_rise * best, _WHOLE_NAT))
        self._num_above = self._num_above + 1 if level > max(best + margin, self._crest()) else 0
        self._best = min(level, best)
        is_on = self._num_above >= self._spec.divergence_steps
        if not self._latches.fires("divergence", is_on, is_off=level < best + margin / 2):
            return []
        text = (
            f"The loss diverges: its median rose from {best:.4g} to {level:.4g} and has stayed "
            f"{margin:.2g} or more above for {self._num_above} steps."
        )
        numbers = {"level": level, "best": best, "margin": margin, "steps": float(self._num_above)}
        return [Finding("divergence", "critical", step, text, numbers)]

    def _crest(self) -> float:
        """Return what the harder rows lose: the lowest of the crests before the last window, at first that of the first steps.

        Where a plan mixes two kinds of rows, the median jumps between the two by itself: a level that the harder kind has had
        all along is no rise.
        """
        return min(self._crests[:-1], default=self._beginning())

    def _plateau(self, step: int) -> list[Finding]:
        """Look at one level per window: the line through them (Theil-Sen) falls by less than a share of its height."""
        self._num_since_level += 1
        if self._num_since_level < self._spec.baseline_steps or not self._baseline.is_full:
            return []
        self._num_since_level = 0
        self._levels.append(self._baseline.median())
        self._crests = [*self._crests[-_NUM_CRESTS:], self._baseline.second_highest()]
        wanted = max(3, math.ceil(self._spec.plateau_steps / self._spec.baseline_steps))
        del self._levels[:-wanted]
        if len(self._levels) < wanted:
            return []
        slope, middle = theil_sen(list(enumerate(self._levels)))
        share = -slope * (wanted - 1) / middle if middle > 0 else 0.0
        is_flat = abs(share) < self._spec.plateau_improvement
        if not self._latches.fires("plateau", is_flat, is_off=share > _FALLS_AGAIN * self._spec.plateau_improvement):
            return []
        steps = wanted * self._spec.baseline_steps
        text = (
            f"The loss is flat: over the last {steps} steps it changed by {-100 * share:+.2g} % and is at {middle:.4g}."
        )
        return [Finding("plateau", "info", step, text, {"steps": float(steps), "share": share, "level": middle})]


def _percent(loss: float, level: float) -> str:
    return f"{100 * (loss / level - 1):,.0f} % above" if level > 0 else "above"
