"""What a run was too short to look at: told once, after its last step.

A run that was resumed says nothing: the time of its first stretch is not known here.
"""

from __future__ import annotations

from collections.abc import Callable

from stoker.mailbox.messages import Outbox
from stoker.spec.lab import TrainSpec
from stoker.train.conductor import StepFacts
from stoker.train.observing.heldout import HeldoutLoss
from stoker.train.observing.samples import Samples


class LeftOut:
    """Looks last, once evaluations and samples had their turn."""

    def __init__(
        self, heldout: HeldoutLoss, samples: Samples, spec: Callable[[], TrainSpec], total_steps: Callable[[], int], outbox: Outbox
    ) -> None:  # fmt: skip
        self._heldout, self._samples = heldout, samples
        self._spec, self._total_steps, self._outbox = spec, total_steps, outbox
        self._is_whole = False

    def after_step(self, facts: StepFacts) -> None:
        self._is_whole |= facts.step == 1
        if not self._is_whole or facts.step != self._total_steps():
            return
        looks = (
            ("a held-out loss", self._heldout.is_left_out),
            ("answers to held-out rows", self._samples.is_left_out),
        )
        missing = [name for name, is_left_out in looks if is_left_out]
        if missing:
            text = (
                f"the run is too short for {' and '.join(missing)}: more than {self._spec().watch_share:.1%} of its time would "
                f"have gone there (train.watch_share; 1: whatever it costs)"
            )
            self._outbox.event("info", "watching.too-short", text, missing=missing)
