"""What a version has forgotten: its marks on the basics against those of the model it continues, whole and by category.

The whole and each category are tested (exact McNemar), corrected together by Holm: a version that lost JSON and gained
arithmetic has forgotten JSON, though its sum is the same. Pure: no files, no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stoker.analysis.statistics import compare_marks, holm

__all__ = ["Change", "Forgetting", "find_forgetting"]


@dataclass(frozen=True, slots=True)
class Change:
    """Right answers before and after, of `n`. `is_lost`: detectably fewer, after correction."""

    name: str
    n: int
    before: int
    after: int
    is_lost: bool

    @property
    def fall(self) -> float:
        return (self.before - self.after) / self.n


@dataclass(frozen=True, slots=True)
class Forgetting:
    """A candidate's marks against one other model's. `seconds`: what it took to ask, all models together."""

    candidate: str
    against: str
    whole: Change
    categories: tuple[Change, ...]
    seconds: float = 0.0

    @property
    def is_forgotten(self) -> bool:
        return any(each.is_lost for each in (self.whole, *self.categories))

    def is_beyond(self, margin: float) -> bool:
        """Tell whether something was lost by more than `margin` (a share)."""
        return any(each.is_lost and each.fall > margin for each in (self.whole, *self.categories))

    @property
    def fallen(self) -> list[Change]:
        """The categories that fell, the furthest first; those that are detectably lost before those that are not."""
        fell = [each for each in self.categories if each.fall > 0]
        return sorted(fell, key=lambda each: (not each.is_lost, -each.fall, each.name))

    def loss(self) -> str:
        """Say what was lost: "basics 37 of 120 right instead of 98: json 0 instead of 20, ..."."""
        whole = self.whole
        by_category = ", ".join(
            f"{each.name} {each.after} of {each.n} instead of {each.before}" for each in self.fallen
        )
        where = f": {by_category}" if by_category else ""
        return f"basics {whole.after} of {whole.n} right instead of {whole.before}{where}"

    def sentence(self) -> str:
        """Say how it stands, in one sentence."""
        if self.is_forgotten:
            return f"{self.candidate} has forgotten what {self.against} could do, {self.loss()}."
        whole = self.whole
        return f"Nothing detectably forgotten: basics {whole.after} of {whole.n} right, {self.against} {whole.before}."

    def to_json(self) -> dict[str, Any]:
        return {
            "candidate": self.candidate,
            "against": self.against,
            "n": self.whole.n,
            "before": self.whole.before,
            "after": self.whole.after,
            "is_forgotten": self.is_forgotten,
            "categories": [asdict(each) for each in self.categories],
            "seconds": round(self.seconds, 3),
            "text": self.sentence(),
        }


def find_forgetting(
    candidate: str,
    against: str,
    marks: Sequence[tuple[str, float, float]],
    confidence: float,
    seconds: float = 0.0,
) -> Forgetting | None:
    """Compare marks, each (category, of `against`, of `candidate`), 1 or 0 of the same item; None without any."""
    if not marks:
        return None
    names = sorted({category for category, _, _ in marks})
    groups = [("basics", marks), *((name, [mark for mark in marks if mark[0] == name]) for name in names)]
    pairs = [(name, _array(group, 1), _array(group, 2)) for name, group in groups]
    tests = [compare_marks(after, before, confidence) for _, before, after in pairs]
    corrected = holm([test.p_value for test in tests])
    alpha = 1 - confidence + 1e-12
    changes = [
        Change(name, len(before), int(before.sum()), int(after.sum()), p_value <= alpha and test.difference < 0)
        for (name, before, after), test, p_value in zip(pairs, tests, corrected, strict=True)
    ]
    return Forgetting(candidate, against, changes[0], tuple(changes[1:]), seconds)


def _array(marks: Sequence[tuple[str, float, float]], place: int) -> Any:
    return np.array([mark[place] for mark in marks], dtype=np.float64)
