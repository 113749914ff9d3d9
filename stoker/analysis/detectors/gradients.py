"""Exploding and vanishing gradients, of the whole model and of each layer, from norms before clipping.

Windows: the whole model, explosion at once above `_AT_ONCE` times the limit, else in the third step in a row above it,
vanishing in the eighth step in a row; a layer, in the third reading in a row. Both need a baseline of `MIN_READINGS`
first, but for a layer that never had a gradient: that is seen in the third reading.

Where a plan mixes rows that are known with rows that are new, their norms differ a hundredfold and more, and nothing is
wrong. So a norm is held against what accounts for it too: the whole model's against the loss of the same step, a layer's
against the other layers in the same reading.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from stoker.analysis.detectors.baseline import Baseline
from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.latch import Latches
from stoker.spec.watching import Kind, WatchSpec

MIN_READINGS = 8
"""Readings of a norm before it is judged by its median."""

_STEPS_ABOVE, _STEPS_BELOW, _READINGS = 3, 8, 3
_AT_ONCE = 10.0
_LAYER_WINDOW = 16
_NOTHING = 1e-9
"""A layer's share of the whole gradient below which float32 has nothing left to add to its weights."""


class GlobalNorm:
    """The gradient norm of all trained weights. Its median is the baseline: a norm's tail is long (Pascanu et al.,
    2013, clip by an average for the same reason).

    The other baseline is the median of norm over loss, times the loss of the step: the gradient of the cross-entropy
    with respect to the logits is p - y, so a batch that is known has a small loss and a small gradient, a new one a
    large loss and a large gradient. Explosion is far above both, vanishing far below both.
    """

    def __init__(self, spec: WatchSpec, latches: Latches, state: Mapping[str, Any] | None = None) -> None:
        given = state or {}
        self._spec, self._latches = spec, latches
        self._baseline = Baseline(2 * spec.baseline_steps, given.get("baseline", ()))
        self._ratios = Baseline(2 * spec.baseline_steps, given.get("ratios", ()))
        self._above, self._below = int(given.get("above", 0)), int(given.get("below", 0))

    def after_step(self, step: int, loss: float, norm: float, is_applied: bool) -> list[Finding]:
        """Judge a finite norm by those before it, then take it in, at most up to the limit."""
        if not math.isfinite(norm):
            return []
        if len(self._baseline) < MIN_READINGS:
            self._take(norm, loss, norm, is_applied)
            return []
        median = self._baseline.median()
        accounted = self._accounted(loss, median)
        upper = max(median, accounted) * self._spec.gradient_factor
        lower = min(median, accounted) / self._spec.vanishing_factor
        self._above = self._above + 1 if norm > upper else 0
        self._below = self._below + 1 if norm < lower else 0
        explodes = self._above >= _STEPS_ABOVE or norm > _AT_ONCE * upper > 0
        found: list[Finding] = []
        if self._latches.fires("gradients-exploding", explodes, is_off=norm < upper / 2):
            found.append(_told("gradients-exploding", step, norm, median, accounted))
        if self._latches.fires("gradients-vanishing", self._below >= _STEPS_BELOW, is_off=norm > 2 * lower):
            found.append(_told("gradients-vanishing", step, norm, median, accounted))
        self._take(norm, loss, upper, is_applied and norm >= lower)
        return found

    def restart(self) -> None:
        self._baseline.clear()
        self._ratios.clear()
        self._above = self._below = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "baseline": self._baseline.to_json(), "ratios": self._ratios.to_json(),
            "above": self._above, "below": self._below,
        }  # fmt: skip

    def _accounted(self, loss: float, median: float) -> float:
        """Return the norm that steps with such a loss usually have; the median where the loss says nothing."""
        if not len(self._ratios) or not math.isfinite(loss):
            return median
        return self._ratios.median() * loss

    def _take(self, norm: float, loss: float, upper: float, is_usual: bool) -> None:
        if not is_usual:
            return
        self._baseline.add(min(norm, upper))
        if math.isfinite(loss) and loss > 0:
            self._ratios.add(min(norm, upper) / loss)


class LayerNorms:
    """Each layer's share of the whole gradient: a share stays while the whole falls, so a learned model is not ill."""

    def __init__(self, spec: WatchSpec, latches: Latches, state: Mapping[str, Any] | None = None) -> None:
        given = state or {}
        self._spec, self._latches = spec, latches
        self._baselines = {name: Baseline(_LAYER_WINDOW, values) for name, values in given.get("baselines", {}).items()}
        self._above: dict[str, int] = dict(given.get("above", {}))
        self._below: dict[str, int] = dict(given.get("below", {}))

    def after_norms(self, step: int, norms: Mapping[str, float]) -> list[Finding]:
        """Judge one reading; layers that begin to misbehave in the same reading are one finding of their kind."""
        finite = {name: norm for name, norm in norms.items() if math.isfinite(norm)}
        whole = math.hypot(*finite.values()) if finite else 0.0
        if not whole:
            return []
        changes = {name: self._change(name, norm) for name, norm in finite.items()}
        usual = max(1.0, statistics.median_low(changes.values()))
        exploding: dict[str, float] = {}
        vanishing: dict[str, float] = {}
        for name, norm in finite.items():
            self._judge(name, norm / whole, norm, is_above=changes[name] > usual * self._spec.gradient_factor)
            if self._latches.fires(f"gradients-exploding/{name}", self._above[name] >= _READINGS):
                exploding[name] = changes[name]
            if self._latches.fires(f"gradients-vanishing/{name}", self._below[name] >= _READINGS):
                vanishing[name] = changes[name]
        return [
            *_layers_told("gradients-exploding", step, exploding, norms),
            *_layers_told("gradients-vanishing", step, vanishing, norms),
        ]

    def restart(self) -> None:
        self._baselines.clear()
        self._above.clear()
        self._below.clear()

    def to_json(self) -> dict[str, Any]:
        baselines = {name: baseline.to_json() for name, baseline in self._baselines.items()}
        return {"baselines": baselines, "above": dict(self._above), "below": dict(self._below)}

    def _change(self, name: str, norm: float) -> float:
        """Return a layer's norm over its median; 0 before it had a gradient."""
        values = self._values(name)
        return norm / values.median() if len(values) else 0.0

    def _judge(self, name: str, share: float, norm: float, *, is_above: bool) -> None:
        """Count how long a layer has been above or below its baselines.

        Shares judge a fall and norms a rise: when one layer explodes, every other layer's share falls. A rise counts as
        far as it goes beyond what most layers rose: what they rise by together is the whole model's.
        """
        shares, values = self._shares(name), self._values(name)
        is_young = len(values) < MIN_READINGS
        rose = is_above and not is_young
        fell = not is_young and share < shares.median() / self._spec.vanishing_factor
        fell = (fell and norm < values.median() / self._spec.vanishing_factor) or share < _NOTHING
        self._above[name] = self._above.get(name, 0) + 1 if rose else 0
        self._below[name] = self._below.get(name, 0) + 1 if fell else 0
        if not (rose or fell):
            shares.add(share)
            values.add(norm)

    def _shares(self, name: str) -> Baseline:
        return self._baselines.setdefault(f"share/{name}", Baseline(_LAYER_WINDOW))

    def _values(self, name: str) -> Baseline:
        return self._baselines.setdefault(f"norm/{name}", Baseline(_LAYER_WINDOW))


def _told(kind: Kind, step: int, norm: float, median: float, accounted: float) -> Finding:
    times = norm / median if median else 0.0
    verb = "explodes" if kind == "gradients-exploding" else "vanishes"
    text = (
        f"The gradient {verb}: its norm is {norm:.3g} at step {step}, {times:.3g} times the median {median:.3g}; "
        f"steps with such a loss had {accounted:.3g}."
    )
    return Finding(kind, "warn", step, text, {"norm": norm, "baseline": median, "times": times, "accounted": accounted})


def _layers_told(kind: Kind, step: int, changes: Mapping[str, float], norms: Mapping[str, float]) -> list[Finding]:
    if not changes:
        return []
    pick = max if kind == "gradients-exploding" else min
    worst = pick(changes, key=lambda name: changes[name])
    verb = "explodes" if kind == "gradients-exploding" else "vanishes"
    others = f", and in {len(changes) - 1} more" if len(changes) > 1 else ""
    text = (
        f"The gradient {verb} in {worst}{others}: its norm is {norms[worst]:.3g} at step {step}, "
        f"{changes[worst]:.3g} times its median."
    )
    return [Finding(kind, "warn", step, text, {"norm": norms[worst], "times": changes[worst], "layers": len(changes)})]
