"""From signals to a recommendation: keep, review or remove, with a score and the reasons.

score = 1 - product over the groups of (1 - the group's strongest signal). Signals of one group measure nearly the same thing, so
only the strongest counts. From REMOVE_FROM "remove", from REVIEW_FROM "review". A signal that more than COMMON_SHARE of the rows have (of
sizes: COMMON_SIZE_SHARE) is a property of the file, not of a row: it is left out and said once. The strengths and both limits are our judgement.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from stoker.data.quality.signals import GROUPS, Signal

Recommendation = Literal["keep", "review", "remove"]
REMOVE_FROM, REVIEW_FROM = 0.8, 0.4
COMMON_SHARE, COMMON_SIZE_SHARE = 0.1, 0.01
_MIN_COMMON_ROWS, _MIN_COMMON_SIZE_ROWS = 10, 5
_MEASURED = frozenset({"label"})  # its own belief says when it is not to be heeded


@dataclass(slots=True)
class Judged:
    """One row's signals, the strongest first, and what follows."""

    row: int
    score: float = 0.0
    signals: list[Signal] = field(default_factory=list)

    @property
    def recommendation(self) -> Recommendation:
        return "remove" if self.score >= REMOVE_FROM else "review" if self.score >= REVIEW_FROM else "keep"


def recommend(signals: Iterable[Signal], num_rows: int) -> tuple[list[Judged], dict[str, int]]:
    """Return the rows that something speaks against, worst first, and the signals left out with how many rows have them."""
    by_row: dict[int, list[Signal]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for signal in signals:
        by_row[signal.row].append(signal)
    for found in by_row.values():
        counts.update({_kind(signal) for signal in found})
    common = {kind: number for kind, number in counts.items() if number > _most(kind, num_rows)}
    judged = []
    for row, found in by_row.items():
        kept = sorted((one for one in found if _kind(one) not in common), key=lambda one: -one.strength)
        if kept:
            judged.append(Judged(row, _score(kept), kept))
    judged.sort(key=lambda one: (-one.score, one.row))
    return judged, common


def _score(signals: Iterable[Signal]) -> float:
    strongest: dict[str, float] = defaultdict(float)
    for signal in signals:
        group = GROUPS[signal.name]
        strongest[group] = max(strongest[group], signal.strength)
    doubt = 1.0
    for strength in strongest.values():
        doubt *= 1.0 - strength
    return round(1.0 - doubt, 3)


def _most(kind: str, num_rows: int) -> float:
    """Return of how many rows a signal still says something."""
    if kind in _MEASURED:
        return num_rows
    if GROUPS.get(kind) == "size":
        return max(_MIN_COMMON_SIZE_ROWS, COMMON_SIZE_SHARE * num_rows)
    return max(_MIN_COMMON_ROWS, COMMON_SHARE * num_rows)


def _kind(signal: Signal) -> str:
    """Return what is counted as one: each code of a finding is a kind of its own."""
    return signal.reason.partition(":")[0] if signal.name == "finding" else signal.name
