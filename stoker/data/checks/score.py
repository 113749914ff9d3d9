"""The score of a file, 0 to 100: what its findings cost, each named. It depends on counts alone, so row order has no say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stoker.data.checks.rules import RULES


@dataclass(frozen=True, slots=True)
class Deduction:
    """What one code costs: `points` for `rows` of the file's rows, a share of `share`."""

    code: str
    points: float
    rows: int
    share: float
    title: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def score_of(counts: Mapping[str, int], num_rows: int) -> tuple[int, list[Deduction]]:
    """Return the score and its deductions, the dearest first: 100 less points x min(1, share / full_share) each."""
    deductions = []
    for code, rows in counts.items():
        rule = RULES[code]
        share = min(1.0, rows / max(1, num_rows))
        points = round(rule.points * min(1.0, share / rule.full_share), 1)
        if points:
            deductions.append(Deduction(code, points, rows, round(share, 4), rule.title))
    deductions.sort(key=lambda one: (-one.points, one.code))
    return max(0, round(100 - sum(one.points for one in deductions))), deductions
