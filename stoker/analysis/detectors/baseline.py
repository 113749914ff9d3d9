"""The median and the scatter of the last values, kept sorted: a new value costs microseconds, not a sort of all.

Median and MAD, since half of the values may be wrong before they move (Rousseeuw and Croux, JASA 88, 1993, 1273-1283).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

MAD_TO_SIGMA = 1.4826
"""The MAD of a normal distribution times this is its standard deviation."""


class Baseline:
    """The last `length` values."""

    def __init__(self, length: int, values: Iterable[float] = ()) -> None:
        self._values: deque[float] = deque(values, maxlen=length)
        self._sorted = sorted(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def is_full(self) -> bool:
        return len(self._values) == self._values.maxlen

    def add(self, value: float) -> None:
        """Take a finite value; the oldest goes."""
        if self.is_full:
            del self._sorted[bisect_left(self._sorted, self._values[0])]
        self._values.append(value)
        insort(self._sorted, value)

    def median(self) -> float:
        """Return the middle value; there must be one."""
        ordered = self._sorted
        half = len(ordered) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

    def sigma(self) -> float:
        """Return the robust standard deviation: 1.4826 times the median distance from the median."""
        middle = self.median()
        distances = sorted([abs(value - middle) for value in self._sorted])
        half = len(distances) // 2
        mad = distances[half] if len(distances) % 2 else (distances[half - 1] + distances[half]) / 2
        return MAD_TO_SIGMA * mad

    def second_highest(self) -> float:
        """Return the highest value but one, so that one wrong value says nothing; there must be two."""
        return self._sorted[-2]

    def clear(self) -> None:
        self._values.clear()
        self._sorted.clear()

    def to_json(self) -> list[float]:
        return list(self._values)
