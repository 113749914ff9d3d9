"""Held-out loss while a run trains: NLL per token of the same sealed rows, every so many steps.

When and on which rows is decided by the plan and the settings, never by a clock: a resumed run measures at the same steps
and finds the same numbers. The checkpoints' "best" and early stopping go by them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stoker.mailbox.messages import Outbox
from stoker.model.likelihood import mean_nll_that_fits, token_counts
from stoker.model.load import Loaded
from stoker.spec.lab import TrainSpec
from stoker.train.conductor import StepFacts
from stoker.train.observing.benchmark_score import BenchmarkScore
from stoker.train.observing.budget import Budget
from stoker.train.observing.sealed import SealedRow
from stoker.train.plan import Plan
from stoker.train.progress import Progress
from stoker.train.randomness import undisturbed

_MOMENTS = 10  # evaluations of a run when the interval is left open
_LEAST_ROWS = 16  # fewer say little; then rather fewer evaluations
_PASSES = (
    2.0  # forward passes in a training step: three (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), two with LoRA
)
_PART = 0.5  # of train.watch_share; the rest is for samples
_BEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Schedule:
    """Every `every` steps (0: never) and after the last one, on `num_rows` rows."""

    every: int
    num_rows: int

    def is_due(self, step: int, total_steps: int) -> bool:
        return self.every > 0 and (step % self.every == 0 or step == total_steps)


def schedule(spec: TrainSpec, plan: Plan, rows: Sequence[SealedRow]) -> Schedule:
    """Return when to evaluate. "auto": ten times a run, less often (and on fewer rows) when that would cost too much, never in a
    run too short for one.

    The cost is counted in tokens. A run that stops early by its evaluations has all ten of them, whatever they cost.
    """
    num_rows = min(spec.eval_rows, len(rows))
    if spec.eval_every != "auto":
        return Schedule(spec.eval_every, num_rows)
    moments = _MOMENTS
    if not spec.early_stopping and spec.watch_share < 1 and rows:
        mean_tokens = sum(row.num_tokens for row in rows) / len(rows)
        affordable = _PART * spec.watch_share * _PASSES * int(plan.tokens.sum()) / mean_tokens
        num_rows = max(min(num_rows, _LEAST_ROWS), min(num_rows, int(affordable / _MOMENTS)))
        moments = min(_MOMENTS, int(affordable / num_rows))
        if not moments:
            return Schedule(0, num_rows)
    return Schedule(math.ceil(plan.total_steps / moments), num_rows)


class HeldoutLoss:
    """Measures, tells and records in `progress` what the checkpoints and early stopping go by."""

    def __init__(
        self, rows: Sequence[SealedRow], spec: Callable[[], TrainSpec], plan: Callable[[], Plan], progress: Callable[[], Progress],
        loaded: Loaded, batch_tokens: int, outbox: Outbox, budget: Budget, benchmark: BenchmarkScore | None,
    ) -> None:  # fmt: skip
        self._benchmark = benchmark
        self._rows, self._spec, self._plan, self._progress = rows, spec, plan, progress
        self._loaded, self._batch_tokens, self._outbox, self._budget = loaded, batch_tokens, outbox, budget
        self._said_at = 0.0
        self._scheduled: tuple[TrainSpec, Plan, Schedule] | None = None
        self.latest: tuple[int, float] | None = None

    @property
    def is_left_out(self) -> bool:
        """Tell whether the run is too short for any evaluation."""
        spec = self._spec()
        return bool(self._rows) and spec.eval_every == "auto" and not self._schedule(spec, self._plan()).every

    def after_step(self, facts: StepFacts) -> None:
        spec, total_steps, budget = self._spec(), self._plan().total_steps, self._budget
        when = self._schedule(spec, self._plan())
        if not when.every or not (self._rows or self._benchmark):
            return
        is_more_to_come = spec.eval_every == "auto" and facts.step < total_steps
        budget.reserved_share = _PART * spec.watch_share if is_more_to_come else 0.0
        if not when.is_due(facts.step, total_steps):
            return
        self._said_at = time.monotonic()
        began = budget.clock()
        loss = self._measure(self._rows[: when.num_rows]) if when.num_rows else math.nan
        measured, more = self._by_benchmark(spec) if self._benchmark else (loss, {})
        spent = budget.clock() - began
        if spec.eval_every == "auto":  # one that a person asked for does not take the samples' time
            budget.spent_seconds += spent
            budget.evaluating_seconds += spent
        self.latest = (facts.step, loss)
        self._progress().record_evaluation(facts.step, measured, spec.min_delta)
        self._outbox.send("evaluation", step=facts.step, heldout_loss=loss, rows=when.num_rows, seconds=spent, **more)

    def _schedule(self, spec: TrainSpec, plan: Plan) -> Schedule:
        """Return the schedule of the run as it is now; it is made anew when settings or plan were changed."""
        known = self._scheduled
        if known is None or known[0] is not spec or known[1] is not plan:
            known = self._scheduled = (spec, plan, schedule(spec, plan, self._rows))
        return known[2]

    def _by_benchmark(self, spec: TrainSpec) -> tuple[float, dict[str, Any]]:
        """Return what is to fall, 1 less the score, and what is told of it."""
        assert self._benchmark is not None
        score = self._benchmark.measure(spec.sample_tokens)
        return 1 - score, {"benchmark": self._benchmark.name, "score": score}

    def _measure(self, rows: Sequence[SealedRow]) -> float:
        """Return the mean NLL in nats per scored token."""
        sequences = [sequence for row in rows for sequence in row.sequences]
        with undisturbed():
            nlls = mean_nll_that_fits(self._loaded, sequences, self._batch_tokens, self._beat)
        counts = token_counts(sequences)
        is_scored = counts > 0
        return float(np.average(nlls[is_scored], weights=counts[is_scored]))

    def _beat(self, done: int, total: int) -> None:
        """Say in a long evaluation that it goes on: silence would be taken for a hang."""
        if time.monotonic() - self._said_at >= _BEAT_SECONDS:
            self._said_at = time.monotonic()
            self._outbox.phase("measure", done, total)
