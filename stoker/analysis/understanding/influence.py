"""Which file helped and which hurt, from measurements: effects with intervals, corrected for the number of files.

An effect is a change of loss, so above zero it hurts (of a benchmark's score, see `lines`: there below zero does). It
computes nothing on a device and knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from stoker.analysis.statistics import PairedTest, compare_scores, holm, smallest_sample

Outcome = Literal["helps", "hurts", "no-difference"]
LEAST_SHARE = 0.05
_DUST = 1e-12


@dataclass(frozen=True, slots=True)
class FileEffect:
    """What a file does to a target. `n` items (loss) or rows (gradient); `low` to `high` is the interval of `effect`.

    `against_others` is the effect minus the mean effect of the other files, None without others or where rows were measured.
    """

    dataset: str
    name: str
    target: str
    n: int
    effect: float
    low: float
    high: float
    p_value: float
    p_value_corrected: float
    against_others: float | None
    draws: tuple[float, ...]
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Measured:
    """One file's measurements on one target: changes by unit (item or row), and the mean of each draw of rows."""

    dataset: str
    name: str
    changes: Mapping[str, float]
    draws: tuple[float, ...] = ()


def effects(
    target: str, files: Sequence[Measured], confidence: float, resamples: int, *, is_paired: bool
) -> list[FileEffect]:
    """Return each file's effect, the most harmful first; files with too few units to decide by are left out.

    `is_paired`: all files were measured on the same units, so that each is also held against the others: it hurts only when
    it is worse than they are, for a few steps may raise a loss on any file. An effect under a twentieth of the largest is
    called no difference, however sure it is.
    """
    usable = [file for file in files if len(file.changes) >= smallest_sample(confidence)]
    tests = [_against_zero(list(file.changes.values()), confidence, resamples) for file in usable]
    beside = [_beside(file, usable, confidence, resamples) if is_paired else None for file in usable]
    largest = max((abs(test.difference) for test in tests), default=0.0)
    corrected = holm([test.p_value for test in tests])
    known = [test for test in beside if test is not None]
    beside_corrected = iter(holm([p_value for _, p_value in known]))
    found = []
    for file, test, p, others in zip(usable, tests, corrected, beside, strict=True):
        p_others = next(beside_corrected) if others is not None else None
        found.append(
            FileEffect(
                file.dataset, file.name, target, test.n, test.difference, test.low, test.high, test.p_value, p,
                None if others is None else others[0], file.draws,
                _outcome(test, p, others, p_others, file.draws, 1 - confidence + _DUST, largest),
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: -one.effect)


def _outcome(
    test: PairedTest,
    p: float,
    others: tuple[float, float] | None,
    p_others: float | None,
    draws: Sequence[float],
    alpha: float,
    largest: float,
) -> Outcome:
    if (
        p > alpha
        or abs(test.difference) < LEAST_SHARE * largest
        or any((draw > 0) != (test.difference > 0) for draw in draws)
    ):
        return "no-difference"
    if test.difference < 0:
        return "helps"
    is_worse = others is None or (others[0] > 0 and p_others is not None and p_others <= alpha)
    return "hurts" if is_worse else "no-difference"


def _against_zero(values: Sequence[float], confidence: float, resamples: int) -> PairedTest:
    changes = np.array(values, dtype=np.float64)
    return compare_scores(changes, np.zeros_like(changes), confidence, resamples)


def _beside(file: Measured, files: Sequence[Measured], confidence: float, resamples: int) -> tuple[float, float] | None:
    """Return the difference to the mean of the others, on the units shared with at least one of them, and its p-value."""
    mine: list[float] = []
    theirs: list[float] = []
    for unit, value in file.changes.items():
        others = [other.changes[unit] for other in files if other is not file and unit in other.changes]
        if others:
            mine.append(value)
            theirs.append(float(np.mean(others)))
    if len(mine) < smallest_sample(confidence):
        return None
    test = compare_scores(np.array(mine), np.array(theirs), confidence, resamples)
    return test.difference, test.p_value
