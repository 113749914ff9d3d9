"""Everything that a worker watches from step to step, behind one door.

Deterministic: the same numbers give the same findings, and `Watch(spec, watch.to_json())` goes on exactly, so a resumed
run is told the same as an uninterrupted one. It only looks; a step takes it some ten microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stoker.analysis.detectors.evaluations import Answers, HeldOut
from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.gradients import GlobalNorm, LayerNorms
from stoker.analysis.detectors.latch import Latches
from stoker.analysis.detectors.losses import Losses
from stoker.spec.watching import WatchSpec


class Watch:
    """Findings are told under a cooldown; what must act on each step reads the step and `loss_limit`."""

    def __init__(self, spec: WatchSpec, state: Mapping[str, Any] | None = None) -> None:
        given = state or {}
        self._spec = spec
        self._latches = Latches(spec.cooldown_steps, given.get("latches"))
        self._losses = Losses(spec, self._latches, given.get("losses"))
        self._norm = GlobalNorm(spec, self._latches, given.get("norm"))
        self._layers = LayerNorms(spec, self._latches, given.get("layers"))
        self._heldout = HeldOut(spec, self._latches, given.get("heldout"))
        self._answers = Answers(spec, self._latches, given.get("answers"))

    def loss_limit(self) -> float:
        """Return the loss above which the next step is a spike (nats per token); infinity while nothing can be said."""
        return self._losses.limit() if self._is_told("loss-spike") else float("inf")

    def after_step(self, step: int, loss: float, grad_norm: float, is_applied: bool) -> list[Finding]:
        """Look at a finished step; the norm is the global one before clipping."""
        self._latches.next_step()
        found = self._losses.after_step(step, loss, grad_norm, is_applied)
        return self._told([*found, *self._norm.after_step(step, loss, grad_norm, is_applied)])

    def after_layer_norms(self, step: int, norms: Mapping[str, float]) -> list[Finding]:
        """Look at the gradient norm of each layer, before clipping."""
        return self._told(self._layers.after_norms(step, norms))

    def after_evaluation(self, step: int, heldout_loss: float, train_loss: float | None) -> list[Finding]:
        """Look at an evaluation; without a training loss the median of the last steps stands for it."""
        smoothed = self._losses.level if train_loss is None else train_loss
        return self._told(self._heldout.after_evaluation(step, heldout_loss, smoothed))

    def after_samples(self, step: int, accuracy: float, items: Sequence[tuple[bool, float]] = ()) -> list[Finding]:
        """Look at a round of probes: the share answered right, and of each (is it right, its NLL) where known."""
        return self._told(self._answers.after_samples(step, accuracy, items))

    def restart(self) -> None:
        """Begin the baselines anew after a rollback; cooldowns and the best levels stay."""
        for part in (self._latches, self._losses, self._norm, self._layers, self._heldout, self._answers):
            part.restart()

    def to_json(self) -> dict[str, Any]:
        return {
            "latches": self._latches.to_json(), "losses": self._losses.to_json(), "norm": self._norm.to_json(),
            "layers": self._layers.to_json(), "heldout": self._heldout.to_json(), "answers": self._answers.to_json(),
        }  # fmt: skip

    def _is_told(self, kind: str) -> bool:
        return self._spec.enabled and kind not in self._spec.ignore

    def _told(self, found: list[Finding]) -> list[Finding]:
        """Leave out what [watch] does not want; a step that is not finite is always told unless it is ignored by name."""
        if not self._spec.enabled:
            found = [each for each in found if each.kind == "non-finite"]
        return [each for each in found if each.kind not in self._spec.ignore]
