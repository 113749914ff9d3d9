"""What evaluations during a run tell: overfitting, inverted loss, accuracy that falls, and the best so far.

Windows: overfitting at the evaluation that is the `overfitting_evaluations`-th in a row above the best; an accuracy
drop and an inverted loss at the second evaluation in a row that shows it; the best at once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.latch import Latches
from stoker.spec.watching import WatchSpec

_IN_A_ROW = 2
_ACCURACY_WINDOW = 5
_LEAST_ITEMS = 4


class HeldOut:
    """Held-out loss against training loss (nats per token).

    Overfitting is the UP criterion of Prechelt ("Early stopping - but when?", 1998): held-out loss above its best at
    several evaluations in a row, here by a share, and only while the training loss is below what it was at the best.
    """

    def __init__(self, spec: WatchSpec, latches: Latches, state: Mapping[str, Any] | None = None) -> None:
        given = state or {}
        self._spec, self._latches = spec, latches
        self._best: float | None = given.get("best")
        self._best_step = int(given.get("best_step", 0))
        self._train_at_best: float | None = given.get("train_at_best")
        self._num_above = int(given.get("num_above", 0))

    def after_evaluation(self, step: int, heldout_loss: float, train_loss: float | None) -> list[Finding]:
        """Judge one evaluation. `train_loss` is a smoothed one of about the same step, None when there is none."""
        if not math.isfinite(heldout_loss):
            return []
        before = self._best
        if before is None or heldout_loss < before:
            self._best, self._best_step, self._train_at_best = heldout_loss, step, train_loss
            self._num_above = 0
            self._latches.fires("overfitting", False)
            return [] if before is None else self._good_news(step, heldout_loss, before)
        is_above = heldout_loss > before * (1 + self._spec.overfitting_rise)
        self._num_above = self._num_above + 1 if is_above else 0
        return self._overfitting(step, heldout_loss, train_loss, before)

    def restart(self) -> None:
        self._num_above = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "best": self._best, "best_step": self._best_step, "train_at_best": self._train_at_best,
            "num_above": self._num_above,
        }  # fmt: skip

    def _good_news(self, step: int, loss: float, before: float) -> list[Finding]:
        if not self._latches.fires_alone("best-so-far", True):
            return []
        text = f"The held-out loss is the best so far: {loss:.4g} at step {step}, before it was {before:.4g}."
        return [Finding("best-so-far", "info", step, text, {"heldout_loss": loss, "before": before})]

    def _overfitting(self, step: int, loss: float, train_loss: float | None, best: float) -> list[Finding]:
        has_both = train_loss is not None and self._train_at_best is not None
        falls = train_loss is not None and self._train_at_best is not None and train_loss < self._train_at_best
        is_on = has_both and falls and self._num_above >= self._spec.overfitting_evaluations
        if not self._latches.fires("overfitting", is_on, is_off=not self._num_above):
            return []
        text = (
            f"Overfitting: the held-out loss rose from its best {best:.4g} at step {self._best_step} to {loss:.4g} and was "
            f"above it {self._num_above} times in a row, while the training loss fell from {self._train_at_best:.4g} to "
            f"{train_loss:.4g}."
        )
        numbers = {"heldout_loss": loss, "best": best, "best_step": float(self._best_step)}
        return [Finding("overfitting", "warn", step, text, {**numbers, "train_loss": train_loss or 0.0})]


class Answers:
    """Accuracy on fixed probes (share of right answers), and whether the loss says the same as the answers."""

    def __init__(self, spec: WatchSpec, latches: Latches, state: Mapping[str, Any] | None = None) -> None:
        given = state or {}
        self._spec, self._latches = spec, latches
        self._accuracies: list[float] = list(given.get("accuracies", ()))
        self._num_low = int(given.get("num_low", 0))
        self._num_inverted = int(given.get("num_inverted", 0))

    def after_samples(self, step: int, accuracy: float, items: Sequence[tuple[bool, float]]) -> list[Finding]:
        """Judge one round of probes; `items` are (is it right, NLL of the expected answer) of each."""
        return [*self._drop(step, accuracy), *self._inverted(step, items)]

    def restart(self) -> None:
        self._accuracies.clear()
        self._num_low = self._num_inverted = 0

    def to_json(self) -> dict[str, Any]:
        return {"accuracies": list(self._accuracies), "num_low": self._num_low, "num_inverted": self._num_inverted}

    def _drop(self, step: int, accuracy: float) -> list[Finding]:
        usual = statistics.median(self._accuracies) if len(self._accuracies) >= _IN_A_ROW else None
        is_low = usual is not None and accuracy < usual and usual - accuracy >= self._spec.accuracy_drop - 1e-9
        self._num_low = self._num_low + 1 if is_low else 0
        if not is_low:
            self._accuracies = [*self._accuracies, accuracy][-_ACCURACY_WINDOW:]
        if not self._latches.fires("accuracy-drop", self._num_low >= _IN_A_ROW) or usual is None:
            return []
        text = f"Accuracy on the probes fell to {100 * accuracy:.0f} %; it was {100 * usual:.0f} % (median)."
        return [Finding("accuracy-drop", "warn", step, text, {"accuracy": accuracy, "baseline": usual})]

    def _inverted(self, step: int, items: Sequence[tuple[bool, float]]) -> list[Finding]:
        right = [nll for is_match, nll in items if is_match and math.isfinite(nll)]
        wrong = [nll for is_match, nll in items if not is_match and math.isfinite(nll)]
        sigmas = inverted_sigmas(right, wrong)
        self._num_inverted = self._num_inverted + 1 if sigmas >= self._spec.inverted_sigmas else 0
        if not self._latches.fires("inverted-loss", self._num_inverted >= _IN_A_ROW):
            return []
        middle_right, middle_wrong = statistics.median(right), statistics.median(wrong)
        text = (
            f"The loss is inverted: right answers have a median loss of {middle_right:.4g}, wrong ones {middle_wrong:.4g} "
            f"({len(right)} and {len(wrong)} probes, {sigmas:.1f} standard errors)."
        )
        return [Finding("inverted-loss", "warn", step, text, {"right": middle_right, "wrong": middle_wrong})]


def inverted_sigmas(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Return how sure it is that right answers have the higher loss: Mann-Whitney's z (Ann. Math. Stat. 18, 1947).

    0 with fewer than four of either.
    """
    n, m = len(right), len(wrong)
    if min(n, m) < _LEAST_ITEMS:
        return 0.0
    score = sum((r > w) + 0.5 * (r == w) for r in right for w in wrong)
    return (score - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
