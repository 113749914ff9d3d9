"""Many millions of 64-bit keys into order, each with a number: equal keys stay in the order they were given.

Keys wait by their first bits, so that only a share of them is in memory twice while the rest is sorted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stoker.data.sealing.growing import GrowingArray

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.uint32]

_SHARE_BITS = 4


class KeySorter:
    """Takes keys in chunks and gives them back in order."""

    def __init__(self) -> None:
        self._shares = [(GrowingArray(np.uint64), GrowingArray(np.uint32)) for _ in range(1 << _SHARE_BITS)]

    def add(self, keys: Keys, numbers: Numbers) -> None:
        order = _stable_order(keys)
        keys, numbers = keys[order], numbers[order]
        bounds = np.arange(1, len(self._shares), dtype=np.uint64) << np.uint64(64 - _SHARE_BITS)
        ends = [*np.searchsorted(keys, bounds).tolist(), len(keys)]
        for share, start, end in zip(self._shares, [0, *ends], ends, strict=False):
            share[0].extend(keys[start:end])
            share[1].extend(numbers[start:end])

    def finish(self) -> tuple[Keys, Numbers]:
        """Return all keys and their numbers; the sorter is empty then."""
        total = sum(len(keys) for keys, _ in self._shares)
        all_keys, all_numbers = np.empty(total, np.uint64), np.empty(total, np.uint32)
        start = 0
        for waiting in self._shares:
            keys, numbers = waiting[0].release(), waiting[1].release()
            end = start + len(keys)
            order = _stable_order(keys)
            all_keys[start:end], all_numbers[start:end] = keys[order], numbers[order]
            start = end
        return all_keys, all_numbers


def _stable_order(keys: Keys) -> npt.NDArray[np.int64]:
    """Return what `argsort(kind="stable")` does, several times as fast: key and place are sorted as one number.

    The place takes the last bits of a key; the few keys that differ in those alone are put in order afterwards.
    """
    bits = np.uint64(max(1, len(keys).bit_length()))
    packed = keys >> bits << bits
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    order = (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    packed >>= bits
    is_same = packed[1:] == packed[:-1]
    del packed
    doubtful = np.flatnonzero(is_same & (keys[order[1:]] != keys[order[:-1]]))
    for first, end in _runs(is_same, doubtful):
        run = order[first:end]
        order[first:end] = run[np.argsort(keys[run], kind="stable")]
    return order


def _runs(is_same: npt.NDArray[np.bool_], places: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of each run of equal first bits that one of `places` (ascending) is in."""
    last = -1
    for place in places.tolist():
        if place < last:
            continue
        first, last = place, place + 1
        while first > 0 and is_same[first - 1]:
            first -= 1
        while last < len(is_same) and is_same[last]:
            last += 1
        yield first, last + 1
