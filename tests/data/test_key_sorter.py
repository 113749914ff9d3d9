"""Keys come back in order, equal ones as they were given."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stoker.data.sealing.key_sorter import KeySorter

# keys that share their first bits, those that differ in the last bits alone, and equal ones
KEYS = st.lists(
    st.lists(st.integers(0, 15).flatmap(lambda first: st.integers(0, 3).map(lambda last: first << 60 | last))),
    min_size=1,
    max_size=4,
)


@given(KEYS)
def test_keys_come_back_as_a_stable_sort_leaves_them(chunks: list[list[int]]) -> None:
    sorter, num = KeySorter(), 0
    for chunk in chunks:
        sorter.add(np.array(chunk, np.uint64), np.arange(num, num + len(chunk), dtype=np.uint32))
        num += len(chunk)
    keys, numbers = sorter.finish()
    given_keys = np.array([key for chunk in chunks for key in chunk], np.uint64)
    order = np.argsort(given_keys, kind="stable")
    assert np.array_equal(keys, given_keys[order]) and np.array_equal(numbers, order)
