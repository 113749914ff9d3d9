"""Exploding and vanishing gradients, of the whole model and of each layer, from norms before clipping.

Windows: the whole model, explosion at once above `_AT_ONCE` times the limit, else in the third step in a row above it,
vanishing in the eighth step in a row; a layer, in the third reading in a row. Both need a baseline of `MIN_READINGS` first, but for a layer that never
had a gradient: that is seen in the third reading.
"""

from __future__ import annotations

import math
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
    2013, clip by an average for the same reason)."""

    def __init__(self, spec: WatchSpec, latches: Latches, state: Mapping[str, Any] | None = None) -> None:
        given = state or {}
        self._spec, self._latches = spec, latches
        self._baseline = Baseline(2 * spec.baseline_steps, given.get("baseline", ()))
        self._above, self._below = int(given.get("above", 0)), int(given.get("below", 0))

    def after_step(self, step: int, norm: float, is_applied: bool) -> list[Finding]:
        """Judge a finite norm by those before it, then take it in, at most up to the limit."""
        if not math.isfinite(norm):
            return []
        if len(self._baseline) < MIN_READINGS:
            if is_applied:
                self._baseline.add(norm)
            return []
        median = self._baseline.median()
        upper, lower = median * self._spec.gradient_factor, median / self._spec.vanishing_factor
        self._above = self._above + 1 if norm > upper else 0
        self._below = self._below + 1 if norm <= lower else 0
        explodes = self._above >= _STEPS_ABOVE or norm > _AT_ONCE * upper > 0
        found: list[Finding] = []
        if self._latches.fires("gradients-exploding", explodes, is_off=norm < upper / 2):
            found.append(_told("gradients-exploding", step, norm, median))
        if self._latches.fires("gradients-vanishing", self._below >= _STEPS_BELOW, is_off=norm > 2 * lower):
            found.append(_told("gradients-vanishing", step, norm, median))
        if is_applied and norm > lower:
            self._baseline.add(min(norm, upper))
        return found

    def restart(self) -> None:
        self._baseline.clear()
        self._above = self._below = 0

    def to_json(self) -> dict[str, Any]:
        return {"baseline": self._baseline.to_json(), "above": self._above, "below": self._below}


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
        exploding: dict[str, float] = {}
        vanishing: dict[str, float] = {}
        for name, norm in finite.items():
            change = self._judge(name, norm / whole, norm)
            if self._latches.fires(f"gradients-exploding/{name}", self._above[name] >= _READINGS):
                exploding[name] = change
            if self._latches.fires(f"gradients-vanishing/{name}", self._below[name] >= _READINGS):
                vanishing[name] = change
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

    def _judge(self, name: str, share: float, norm: float) -> float:
        """Count how long a layer has been above or below its baselines; return its norm over the median norm.

        Shares judge a fall and norms a rise: when one layer explodes, every other layer's share falls.
        """
        shares = self._baselines.setdefault(f"share/{name}", Baseline(_LAYER_WINDOW))
        values = self._baselines.setdefault(f"norm/{name}", Baseline(_LAYER_WINDOW))
        is_young = len(values) < MIN_READINGS
        median = values.median() if len(values) else norm
        rose = not is_young and norm > median * self._spec.gradient_factor
        fell = not is_young and share < shares.median() / self._spec.vanishing_factor
        fell = (fell and norm < median / self._spec.vanishing_factor) or share < _NOTHING
        self._above[name] = self._above.get(name, 0) + 1 if rose else 0
        self._below[name] = self._below.get(name, 0) + 1 if fell else 0
        if not (rose or fell):
            shares.add(share)
            values.add(norm)
        return norm / median if median else 0.0


def _told(kind: Kind, step: int, norm: float, median: float) -> Finding:
    times = norm / median if median else 0.0
    verb = "explodes" if kind == "gradients-exploding" else "vanishes"
    text = f"The gradient {verb}: its norm is {norm:.3g} at step {step}, {times:.3g} times the median {median:.3g}."
    return Finding(kind, "warn", step, text, {"norm": norm, "baseline": median, "times": times})


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
