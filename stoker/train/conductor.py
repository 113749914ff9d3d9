"""What happens at the end of each optimizer step: the message, the guard's count, checkpoints, pause and stop.

A callback of Trainer. It asks the segment to end and says why in `ending`, or what for in `asked`; `run` and `segment` decide
what follows. It reads the device once a step, and writes one line. What only looks at a step is an `Observer`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from transformers.trainer_callback import TrainerCallback, TrainerControl

from stoker.errors import DiskFull, NonFinite, WorkerExit
from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import Request
from stoker.spec.lab import TrainSpec
from stoker.train.checkpoint import Saved
from stoker.train.healing import Healer, Remedy
from stoker.train.optimizer import GuardedAdamW
from stoker.train.plan import Plan
from stoker.train.progress import Progress
from stoker.train.steering import RolledBack

_RETRY_SECONDS = 1.0
_BEST_SAVES_SHARE = 0.02  # of the time since the last save


@dataclass(frozen=True)
class Ending:
    """Why a run ends before its last step; DONE: it stopped early, and its version is due."""

    exit: WorkerExit
    reason: str
    needed_bytes: int = 0


@dataclass(frozen=True)
class StepFacts:
    """A finished step (`step` counts from 1): loss in nats per trained token and gradient norm before clipping, either may be
    non-finite; `seconds` it took, `is_applied`: the weights changed."""

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    rows: int
    seconds: float
    is_applied: bool


class Observer(Protocol):
    """Looks at the run between two steps; leaves weights, moments, train mode and random states as they were."""

    def after_step(self, facts: StepFacts) -> None: ...


class Conductor(TrainerCallback):  # type: ignore[misc]
    """`rate_at` gives the learning rate of a step; `save` publishes a checkpoint, `make_room` deletes older ones, `heal` carries
    out what the healer decides.

    `observers` look at each step after its message.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Progress,
        spec: TrainSpec,
        outbox: Outbox,
        control: ControlInbox,
        *,
        rate_at: Callable[[int], float],
        save: Callable[[], Saved],
        make_room: Callable[[], None],
        guard: GuardedAdamW,
        healer: Healer,
        heal: Callable[[Sequence[Remedy]], RolledBack | None],
        observers: Sequence[Observer] = (),
    ) -> None:
        self.progress, self._outbox, self._control = progress, outbox, control
        self._guard, self._healer, self._heal = guard, healer, heal
        self._rate_at, self._save, self._make_room, self._observers = rate_at, save, make_room, observers
        self.read_loss_and_norm: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
        self.record_rows: Callable[[int], None] = lambda step: None
        self.back: RolledBack | None = None
        self._last_save = time.monotonic()
        self._steps_since_save = 0
        self._save_seconds = 0.0
        self._step_began = time.perf_counter()
        self.begin(plan, spec)

    def begin(self, plan: Plan, spec: TrainSpec) -> None:
        """Conduct a segment: the steps of this plan, under these settings."""
        self.plan, self._spec = plan, spec
        self.ending: Ending | None = None
        self.asked: list[Request] = []
        self._is_healed = False
        self._limit_loss()
        self._tokens, self._rows, self._epochs = plan.tokens.tolist(), plan.rows.tolist(), _epochs(plan)

    def on_train_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        self._step_began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        loss, norm = self.read_loss_and_norm()
        facts = self._report(loss, norm)
        self.record_rows(self.progress.step)
        for observer in self._observers:
            observer.after_step(facts)
        is_last = self.progress.step >= self.plan.total_steps
        self._heal_after(facts, is_last=is_last)
        self.ending = self._not_finite() if self.back is None else None
        if self.ending is None and not is_last:
            early = early_end(self.progress, self._spec) if self.back is None else None
            self.ending = early or self._asked_to_end()
        is_due = self._is_best_due() or self._is_save_due()
        is_paused = self.ending is not None and self.ending.exit is WorkerExit.PAUSED
        if not (is_last or self.back) and (is_due or is_paused):
            self.save()
        if self.ending is not None or self.asked or self._is_healed:
            control.should_training_stop = True
        self._step_began = time.perf_counter()

    def save(self) -> None:
        """Save a checkpoint; without space free some, try once more, and end the run if there is still none."""
        loss = self.progress.close_stretch()
        self.progress.watch = self._healer.watch.to_json()
        try:
            self._save_and_tell(loss)
        except DiskFull as error:
            self._outbox.event("critical", "disk-full", str(error), needed_bytes=error.needed_bytes)
            self._make_room()
            time.sleep(_RETRY_SECONDS)
            try:
                self._save_and_tell(loss)
            except DiskFull as again:
                self.ending = Ending(WorkerExit.DISK_FULL, str(again), again.needed_bytes)
        except NonFinite as error:
            self.ending = Ending(WorkerExit.NON_FINITE, str(error))
        self._last_save, self._steps_since_save = time.monotonic(), 0

    def _heal_after(self, facts: StepFacts, *, is_last: bool) -> None:
        """Carry out what the step calls for, before a checkpoint could make it forgotten; the segment ends with it."""
        remedies = self._healer.after_step(
            facts.step, facts.loss, facts.grad_norm, is_applied=facts.is_applied, is_last=is_last,
            max_skipped=self._spec.max_skipped_steps,
        )  # fmt: skip
        if not facts.is_applied:
            self._tell_skipped(facts)
        if remedies:
            self._is_healed, self.back = True, self._heal(remedies)
        self._limit_loss()

    def _limit_loss(self) -> None:
        self._guard.loss_limit = self.loss_limit = self._healer.loss_limit()

    def _report(self, loss: float, norm: float) -> StepFacts:
        step = self.progress.step
        is_applied = self.progress.add(loss, norm, self._tokens[step], self._rows[step], self.loss_limit)
        self._steps_since_save += 1
        facts = StepFacts(
            step + 1, loss, norm, self._rate_at(step), self._tokens[step], self._rows[step],
            time.perf_counter() - self._step_began, is_applied,
        )  # fmt: skip
        self._outbox.send(
            "step", step=step + 1, total_steps=self.plan.total_steps, loss=loss, learning_rate=facts.learning_rate,
            grad_norm=norm, tokens=facts.tokens, rows=facts.rows, seconds=facts.seconds, epoch=self._epochs[step],
        )  # fmt: skip
        return facts

    def _tell_skipped(self, facts: StepFacts) -> None:
        """Say why a step was not applied: after what was found in it, before what is done about it."""
        loss, norm = facts.loss, facts.grad_norm
        if math.isfinite(loss) and math.isfinite(norm):
            reason = f"the loss {loss:.4g} is a spike (limit {self.loss_limit:.4g})"
        else:
            reason = f"the {'gradient' if math.isfinite(loss) else 'loss'} is not finite"
        self._outbox.send("skipped", step=facts.step, reason=reason, loss=loss, grad_norm=norm)

    def _not_finite(self) -> Ending | None:
        in_a_row = self.progress.num_skipped_in_a_row
        if in_a_row >= self._spec.max_skipped_steps and self._healer.ends_at_non_finite():
            reason = f"{in_a_row} steps in a row were not finite (train.max_skipped_steps); the last checkpoint stays"
            return Ending(WorkerExit.NON_FINITE, f"step {self.progress.step}: {reason}")
        return None

    def _asked_to_end(self) -> Ending | None:
        for request in self._control.read():
            kind = request.get("kind")
            if kind in ("pause", "stop"):
                return Ending(WorkerExit.PAUSED, str(request.get("reason") or kind))
            if kind in ("set", "rollback"):
                self.asked.append(Request.model_validate(request["request"]))
        return None

    def _is_save_due(self) -> bool:
        if self.ending is not None:
            return False
        by_steps = 0 < self._spec.checkpoint_steps <= self._steps_since_save
        return by_steps or time.monotonic() - self._last_save >= self._spec.checkpoint_seconds

    def _is_best_due(self) -> bool:
        """Tell whether a new best gets a checkpoint now: always when the run may end with it, else while saves stay rare."""
        if not self.progress.is_new_best:
            return False
        since = time.monotonic() - self._last_save
        return self._spec.early_stopping > 0 or self._save_seconds <= _BEST_SAVES_SHARE * since

    def _save_and_tell(self, loss: float | None) -> None:
        saved = self._save()
        self._save_seconds = saved.seconds
        self._outbox.send(
            "checkpoint", step=self.progress.step, folder=str(saved.folder), seconds=saved.seconds, bytes=saved.bytes,
            is_best=self.progress.best_step == self.progress.step, loss=loss,
        )  # fmt: skip


def early_end(progress: Progress, spec: TrainSpec) -> Ending | None:
    """Return the end of a run whose evaluations have no gain any more (`train.early_stopping`)."""
    if not progress.gain.is_over(spec.early_stopping):
        return None
    gain, on = progress.gain, spec.early_stopping_on
    what, best = ("the held-out loss", gain.best) if on == "heldout" else (f"the score on {on}", _score(gain.best))
    found = f"the best is {best:.4f} at step {gain.best_step}" if best is not None else "none was finite"
    return Ending(WorkerExit.DONE, f"{what} had no gain in {gain.num_without} evaluations, {found}")


def _score(measured: float | None) -> float | None:
    return None if measured is None else 1 - measured


def _epochs(plan: Plan) -> list[float]:
    """Return how many epochs are done after each step, to three places: by sequences, so that a new batch size moves nothing."""
    sizes, done = np.diff(plan.offsets), np.cumsum(np.diff(plan.offsets))
    before = {epoch: int(sizes[plan.epoch < epoch].sum()) for epoch in np.unique(plan.epoch).tolist()}
    counts = {epoch: int(sizes[plan.epoch == epoch].sum()) for epoch in before}
    ends = zip(plan.epoch.tolist(), done.tolist(), strict=True)
    return [round(epoch + (end - before[epoch]) / counts[epoch], 3) for epoch, end in ends]
