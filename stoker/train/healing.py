"""What a run does about what is found in it: the policy of [recover], decided after each step, carried out in `steering`.

Decides from the step, the watch and the course alone, so a resumed run decides the same; what was done once is in the course
under the name of its leg and step and is not done again. A step whose loss is a spike is not applied. Its batch is to
blame only if the step after it is well: several in a row mean that the weights are wrong, and the run goes back instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stoker.analysis.detectors.finding import Finding
from stoker.analysis.detectors.watch import Watch
from stoker.mailbox.messages import Outbox
from stoker.spec.recovery import RecoverSpec
from stoker.train.course import Course
from stoker.train.progress import Progress

BY_RECOVERY = "recovery-"


@dataclass(frozen=True)
class Remedy:
    """`request` names it in the course; `steps` are those whose batches are put aside."""

    action: Literal["rollback", "halve-rate", "quarantine"]
    request: str
    reason: str
    steps: tuple[int, ...] = ()
    is_rate_halved: bool = True


Look = Callable[[Watch, int], list[Finding]]


class Healer:
    """Looks at each finished step of a run and says what is to be done before the next.

    `look` finds more in what else was measured at a step.
    """

    def __init__(
        self,
        spec: RecoverSpec,
        watch: Watch,
        progress: Progress,
        course: Course,
        outbox: Outbox,
        look: Look | None = None,
    ) -> None:
        self.watch, self._look = watch, look
        self._spec, self._progress, self._course, self._outbox = spec, progress, course, outbox

    def loss_limit(self) -> float:
        """Return the loss above which the next step is not applied, as the float32 that a device compares with."""
        progress, spec = self._progress, self._spec
        if "quarantine" not in spec.loss_spike or progress.is_unlimited:
            return float("inf")
        if progress.num_left_out >= spec.max_quarantined_batches:
            return float("inf")
        return float(np.float32(self.watch.loss_limit()))

    def after_step(
        self, step: int, loss: float, norm: float, *, is_applied: bool, is_last: bool, max_skipped: int
    ) -> list[Remedy]:
        """Tell what is found, and return what is to be done: at most one rollback, and then nothing else."""
        findings = self.watch.after_step(step, loss, norm, is_applied)
        findings += self._look(self.watch, step) if self._look else []
        for found in findings:
            self._outbox.event(found.severity, found.kind, found.text, step=found.step, **found.numbers)
        remedies = [
            *self._not_finite(step, max_skipped),
            *self._refused(step, is_applied=is_applied, is_last=is_last, max_skipped=max_skipped),
            *(remedy for found in findings for remedy in self._found(found)),
        ]
        back = [remedy for remedy in remedies if remedy.action == "rollback"]
        return back[:1] or remedies

    def ends_at_non_finite(self) -> bool:
        """Tell whether too many non-finite steps in a row end the run: where no going back is left, or none is wanted."""
        wanted = self._spec.non_finite
        return wanted == "skip-then-fail" or (wanted == "skip-then-rollback" and not self._may_go_back())

    def _not_finite(self, step: int, max_skipped: int) -> list[Remedy]:
        in_a_row = self._progress.num_skipped_in_a_row
        if in_a_row < max_skipped or self._spec.non_finite != "skip-then-rollback":
            return []
        return self._go_back("non-finite", step, f"{in_a_row} steps in a row were not finite")

    def _refused(self, step: int, *, is_applied: bool, is_last: bool, max_skipped: int) -> list[Remedy]:
        """Judge the steps that were refused as spikes: their batches, once a step is well again, or the weights."""
        waiting = self._progress.refused
        if not waiting or self._progress.num_skipped_in_a_row:
            return []
        if is_applied or is_last:
            self._progress.refused = []
            self._progress.num_left_out += len(waiting)
            return [self._quarantine(step, tuple(waiting))]
        if len(waiting) < max_skipped:
            return []
        self._progress.refused = []
        back = self._go_back("loss-spike", step, f"the loss of {len(waiting)} steps in a row was a spike")
        self._progress.is_unlimited = not back
        return back

    def _quarantine(self, step: int, steps: tuple[int, ...]) -> Remedy:
        is_halved = self._spec.loss_spike == "halve-rate-and-quarantine" and self._may_halve()
        names = ", ".join(map(str, steps))
        reason = f"the loss of step {names} was a spike; it was not applied"
        return Remedy("quarantine", self._name("loss-spike", step), reason, steps, is_halved)

    def _found(self, found: Finding) -> list[Remedy]:
        spec = self._spec
        policies = {
            "divergence": spec.divergence,
            "gradients-exploding": spec.gradients_exploding,
            "loss-spike": spec.loss_spike,
        }
        policy = policies.get(found.kind, "tell")
        if policy == "rollback":
            return self._go_back(found.kind, found.step, found.text)
        if policy == "halve-rate" and self._may_halve():
            return [Remedy("halve-rate", self._name(found.kind, found.step), found.text)]
        return []

    def _go_back(self, kind: str, step: int, reason: str) -> list[Remedy]:
        if self._may_go_back():
            return [Remedy("rollback", self._name(kind, step), reason, (), self._may_halve())]
        text = f"step {step}: {reason} after {self._spec.max_rollbacks} rollbacks (recover.max_rollbacks): no more are tried"
        self._outbox.event("critical", "recovery.gave-up", text, step=step, kind=kind)
        return []

    def _may_go_back(self) -> bool:
        return self._course.count("rollback", BY_RECOVERY) < self._spec.max_rollbacks

    def _may_halve(self) -> bool:
        return self._course.count_changes("learning_rate", BY_RECOVERY) < self._spec.max_rate_halvings

    def _name(self, kind: str, step: int) -> str:
        return f"{BY_RECOVERY}{kind}-{self._course.leg}-{step}"
