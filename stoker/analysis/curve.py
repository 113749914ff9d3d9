"""A learning curve read: what it did, where it was best, and what to do next time, in plain words with numbers.

Pure. Losses are raw, per step, in nats per trained token; smoothing is a running median, which one bad step does not move.
A statement is only made where the run is long enough for it. Sources: overfitting as Prechelt ("Early stopping - but
when?", 1998) measures it, by how far held-out loss is above its best; trends by Theil-Sen.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stoker.analysis.trend import Point, rising_sigmas, theil_sen

Curve = Sequence[tuple[int, float]]
"""(step, loss), ascending."""

State = Literal["too-short", "diverged", "overfitted", "memorising", "underfitted", "rising", "plateau", "good"]

LEAST_STEPS = 30
_LEAST_EVALUATIONS = 4
_OVERFIT_SHARE = 0.02
_FALLING_SHARE = 0.02
_STALLED_SHARE, _TRAIN_FELL = 0.05, 0.2
_FLAT_SHARE = 0.01
_LEAST_NATS = 0.005
_DIVERGED_SHARE = 0.5
_DIVERGED_NATS = 0.3
_NOISY_SHARE = 0.25
_TAIL_PARTS, _LEVELS = 10, 20
_SURE = 1.64
_BACK_SHARE = 0.03
_NEAR_SHARE = 0.05


@dataclass(frozen=True)
class Statement:
    """One thing the curve shows. `code` is stable; `text` has the numbers."""

    code: str
    text: str


@dataclass(frozen=True)
class Analysis:
    """`state` is the most important statement; `best_step` is of the held-out loss where there is one, else of the
    smoothed training loss. `last_fall` is the share by which the loss fell over the last fifth of the run; `noise` the scatter of
    single steps around the smoothed curve as a share of it."""

    state: State
    headline: str
    statements: tuple[Statement, ...]
    advice: tuple[str, ...]
    steps: int
    first_loss: float | None
    final_loss: float | None
    best_step: int | None
    best_loss: float | None
    last_fall: float | None
    noise: float | None
    gap: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def smoothed(losses: Curve, num_steps: int | None = None) -> list[Point]:
    """Return the running median over `num_steps` (default: a twentieth of the curve, at least 5)."""
    values = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    half = (num_steps or max(5, len(values) // 20)) // 2
    return [
        (float(step), statistics.median(loss for _, loss in values[max(0, place - half) : place + half + 1]))
        for place, (step, _) in enumerate(values)
    ]


def analyse(losses: Curve, heldout: Curve = (), learning_rates: Curve = ()) -> Analysis:
    """Read a run's training losses and, where there are some, its held-out losses and its rates."""
    finite = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    num_lost = len(losses) - len(finite)
    if len(finite) < LEAST_STEPS:
        return _too_short(len(finite), num_lost)
    smooth, tail = smoothed(finite), _stretches(finite[-max(LEAST_STEPS // 3, len(finite) // 5) :], _TAIL_PARTS)
    facts = _Facts(
        finite=finite, smooth=smooth, levels=_stretches(finite, _LEVELS),
        heldout=[(step, loss) for step, loss in heldout if math.isfinite(loss)], fall=_fall(tail),
        trend=-rising_sigmas([loss for _, loss in tail]), noise=_noise(finite, smooth), has_decayed=_has_decayed(learning_rates),
    )  # fmt: skip
    state, first = _main_statement(facts)
    statements = [first, *_other_statements(facts, num_lost)]
    best_step, best_loss = facts.best
    return Analysis(
        state=state, headline=first.text, statements=tuple(statements), advice=tuple(_advice(state, facts)),
        steps=len(losses), first_loss=facts.first, final_loss=facts.end, best_step=best_step, best_loss=best_loss,
        last_fall=facts.fall, noise=facts.noise, gap=facts.gap,
    )  # fmt: skip


@dataclass(frozen=True)
class _Facts:
    """`levels` are the medians of twenty stretches of the run, `end` that of its last tenth."""

    finite: list[tuple[int, float]]
    smooth: list[Point]
    levels: list[Point]
    heldout: list[tuple[int, float]]
    fall: float
    trend: float
    noise: float
    has_decayed: bool

    @property
    def first(self) -> float:
        return statistics.median(loss for _, loss in self.finite[:3])

    @property
    def end(self) -> float:
        return statistics.median(loss for _, loss in self.finite[-max(5, len(self.finite) // 10) :])

    @property
    def before_divergence(self) -> float | None:
        """The loss that a diverged run was at: its lowest level, or its very first loss if it hardly ever came back to it."""
        lowest = min(level for _, level in self.levels)
        begin = self.finite[0][1]
        is_lost = sum(loss <= begin for _, loss in self.finite) <= max(2, _BACK_SHARE * len(self.finite))
        before = min(lowest, begin) if is_lost else lowest
        return before if self.end > before + max(_DIVERGED_SHARE * before, _DIVERGED_NATS) else None

    @property
    def best(self) -> tuple[int, float]:
        step, loss = min(self.heldout or self.smooth, key=lambda point: point[1])
        return int(step), loss

    @property
    def heldout_rise(self) -> float:
        """The share by which held-out loss ended above its best: the lower of its last two, so one bad evaluation is none."""
        if len(self.heldout) < _LEAST_EVALUATIONS:
            return 0.0
        end = min(loss for _, loss in self.heldout[-2:])
        return end / self.best[1] - 1 if self.best[1] > 0 else 0.0

    @property
    def stalled_at(self) -> int | None:
        """The last evaluation of the first half, if held-out loss gained next to nothing since and training loss much."""
        if len(self.heldout) < _LEAST_EVALUATIONS:
            return None
        half = self.heldout[: len(self.heldout) // 2]
        earlier, step = min(loss for _, loss in half), half[-1][0]
        is_stalled = self.best[1] > (1 - _STALLED_SHARE) * earlier
        return step if is_stalled and self.end < (1 - _TRAIN_FELL) * _level_at(self.smooth, step) else None

    @property
    def gap(self) -> float | None:
        """Held-out loss minus the training loss of the same time, at the end (nats)."""
        return self.heldout[-1][1] - self.end if self.heldout else None


def _main_statement(facts: _Facts) -> tuple[State, Statement]:
    final, (best_step, best_loss) = facts.end, facts.best
    if facts.before_divergence is not None:
        text = f"The loss diverged: it was {facts.before_divergence:.4g} and ended at {final:.4g}."
        return "diverged", Statement("diverged", text)
    if facts.heldout_rise > _OVERFIT_SHARE and final < _level_at(facts.smooth, best_step):
        text = (
            f"Overfitted: held-out loss was best ({best_loss:.4g}) at step {best_step} and ended "
            f"{100 * facts.heldout_rise:.1f} % above it, while the training loss went on falling to {final:.4g}."
        )
        return "overfitted", Statement("overfitted", text)
    if facts.stalled_at is not None:
        text = (
            f"It learned its own rows only: since step {facts.stalled_at} held-out loss has gained less than "
            f"{100 * _STALLED_SHARE:.0f} % (best {best_loss:.4g}), while the training loss went on falling to {final:.4g}."
        )
        return "memorising", Statement("memorising", text)
    moved = f"over the last fifth of the run the loss {{}} by {100 * abs(facts.fall):.1f} %, to {final:.4g}."
    if abs(facts.fall) < _FLAT_SHARE or abs(facts.trend) < _SURE or abs(facts.fall) * final < _LEAST_NATS:
        text = f"A plateau from about step {_flat_since(facts)} on: the loss stayed at {final:.4g}, within its noise."
        return "plateau", Statement("plateau", text)
    if facts.fall < 0:
        return "rising", Statement("rising", "Rising when it ended: " + moved.format("rose"))
    if facts.fall > _FALLING_SHARE:
        return "underfitted", Statement("underfitted", "Still learning when it ended: " + moved.format("fell"))
    return "good", Statement("good", f"It learned and settled: the loss went from {facts.first:.4g} to {final:.4g}.")


def _other_statements(facts: _Facts, num_lost: int) -> list[Statement]:
    found = []
    what = "held-out loss" if facts.heldout else "training loss (smoothed)"
    found.append(Statement("best-step", f"The best {what} is {facts.best[1]:.4g}, at step {facts.best[0]}."))
    if facts.gap is not None:
        text = f"At the end held-out loss is {abs(facts.gap):.3g} nats {'above' if facts.gap > 0 else 'below'} training loss."
        found.append(Statement("gap", text))
    amount = "noisy" if facts.noise > _NOISY_SHARE else "calm"
    found.append(
        Statement("noise", f"The curve is {amount}: single steps scatter by {100 * facts.noise:.0f} % around it.")
    )
    if num_lost:
        found.append(Statement("non-finite", f"{_steps(num_lost)} had a loss that is not finite."))
    if not facts.heldout:
        found.append(Statement("no-heldout", "There were no evaluations during the run, so overfitting can't be seen."))
    return found


def _advice(state: State, facts: _Facts) -> list[str]:
    best_step = facts.best[0]
    end = facts.finite[-1][0]
    said = {
        "diverged": [
            "Halve train.learning_rate, and lengthen train.warmup_fraction; the version of this run is not to be trusted."
        ],
        "overfitted": [
            f"Stop at about step {best_step} of {end}: fewer train.epochs, or early stopping.",
            "More data, a larger train.replay or model.lora_dropout help more than more epochs.",
        ],
        "memorising": [
            "More epochs of the same rows are not due: more or more varied data, a larger train.replay, or fewer train.epochs."
        ],
        "underfitted": [
            "More train.epochs are due"
            + (
                "."
                if facts.has_decayed
                else ", or a longer train.decay_fraction: the rate had not fallen when the run ended."
            )
        ],
        "plateau": [
            "More epochs of the same are not due. If the loss is still too high: "
            + (
                "a lower rate will not help by itself; try"
                if facts.has_decayed
                else "try a lower train.learning_rate first, then"
            )
            + " a larger base, a higher model.lora_rank or better data."
        ],
        "rising": ["A lower train.learning_rate, or a longer train.decay_fraction: it was being unlearned at the end."],
        "good": ["Nothing speaks against the same settings next time."],
        "too-short": [],
    }[state]
    if facts.noise > _NOISY_SHARE:
        said.append("A larger train.batch_tokens (or more train.accumulation) would calm the curve.")
    if not facts.heldout:
        said.append("Set train.eval_every, so that held-out loss is seen during the run.")
    return said


def _too_short(num_steps: int, num_lost: int) -> Analysis:
    lost = f"; {_steps(num_lost)} had a loss that is not finite" if num_lost else ""
    text = f"{_steps(num_steps)} of losses are too few to read a curve from ({LEAST_STEPS} at least){lost}."
    return Analysis(
        state="too-short", headline=text, statements=(Statement("too-short", text),), advice=(),
        steps=num_steps + num_lost, first_loss=None, final_loss=None, best_step=None, best_loss=None, last_fall=None,
        noise=None, gap=None,
    )  # fmt: skip


def _stretches(points: list[tuple[int, float]], num: int) -> list[Point]:
    """Return the medians of so many stretches: unlike smoothed points they share no steps."""
    edges = [round(part * len(points) / num) for part in range(num + 1)]
    parts = [points[begin:end] for begin, end in itertools.pairwise(edges)]
    return [(float(part[len(part) // 2][0]), statistics.median(loss for _, loss in part)) for part in parts if part]


def _fall(tail: list[Point]) -> float:
    """Return the share by which the line through the tail falls over it."""
    slope, middle = theil_sen(tail)
    return -slope * (tail[-1][0] - tail[0][0]) / middle if middle > 0 else 0.0


def _noise(finite: list[tuple[int, float]], smooth: list[Point]) -> float:
    """Return 1.4826 times the median distance from the smoothed curve, as a share of its median."""
    distance = statistics.median(abs(loss - level) for (_, loss), (_, level) in zip(finite, smooth, strict=True))
    level = statistics.median(level for _, level in smooth)
    return 1.4826 * distance / level if level > 0 else 0.0


def _flat_since(facts: _Facts) -> int:
    """Return the step from which on every level stays near the end: within 5 %, or within the noise."""
    near = max(_NEAR_SHARE, facts.noise) * facts.end
    far = [step for step, level in facts.levels if abs(level - facts.end) > near]
    return int(far[-1]) if far else facts.finite[0][0]


def _has_decayed(rates: Curve) -> bool:
    """Say whether the rate ended at less than half of its peak."""
    values = [rate for _, rate in rates if math.isfinite(rate)]
    return bool(values) and values[-1] < max(values) / 2


def _level_at(smooth: list[Point], step: int) -> float:
    return min(smooth, key=lambda point: abs(point[0] - step))[1]


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"
