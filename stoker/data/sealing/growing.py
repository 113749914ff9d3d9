"""An array that grows at its end: one block of memory that the system moves, where a list of pieces would be there twice."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)

_SPARE_SHARE = 8


class GrowingArray(Generic[Scalar]):
    """Takes values at its end and gives all of them away at once."""

    def __init__(self, dtype: type[Scalar]) -> None:
        self._values = np.empty(0, dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def extend(self, values: npt.NDArray[Scalar]) -> None:
        end = self._size + len(values)
        if end > len(self._values):
            # nothing else refers to this array: only `release` gives it away, and keeps none of it
            self._values.resize(end + end // _SPARE_SHARE, refcheck=False)
        self._values[self._size : end] = values
        self._size = end

    def release(self) -> npt.NDArray[Scalar]:
        """Return all values; the array is empty then."""
        values, size = self._values, self._size
        self._values, self._size = np.empty(0, values.dtype), 0
        values.resize(size, refcheck=False)
        return values
