"""Which rows are a word apart: what word triples can't tell of short rows.

A changed word takes three triples with it, so at a similarity of 0.7 a row of under 19 words would pass for a new one. Here
each row has keys: its word sequence, that sequence less each one of its words, and its characters without the spaces.
Rows that share a key differ by a word changed, added, dropped or moved, or by spaces alone. System prompts are left out;
rows of over MAX_WORDS words have the last key only.

Where single words are what the rows of a file differ by ("Is 17 prime?"), a changed word is another row: rows that
such changes link to more than FAMILY_ROWS are a family, and keep only the keys of what they say as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stoker.data.rows import Row
from stoker.data.sealing.shingles import Indices, row_words, system_prompt, words_of

Keys = npt.NDArray[np.uint64]

MIN_WORDS = 5
MAX_WORDS = 64
FAMILY_ROWS = 20
_CHUNK_ROWS = 4096
_BASE = 0x9E3779B97F4A7C15
_UNBASE = pow(_BASE, -1, 1 << 64)
_POWERS = np.array([pow(_BASE, place, 1 << 64) for place in range(MAX_WORDS)], dtype=np.uint64)
_LENGTH, _SPACELESS = np.uint64(0xC2B2AE3D27D4EB4F), 0x165667B19E3779F9
_HAS_DIGIT = np.uint64(1)


@dataclass(frozen=True, slots=True)
class EditKeys:
    """Keys (sorted) and the row of each; rows that share a key are a word apart or nearer."""

    keys: Keys
    rows: Indices

    def take(self, rows: npt.NDArray[np.integer], num_rows: int) -> EditKeys:
        """Return the keys of some rows of `num_rows`, which are numbered by their place in `rows`."""
        place = np.full(num_rows, -1, np.int64)
        place[rows] = np.arange(len(rows))
        taken = place[self.rows]
        return EditKeys(self.keys[taken >= 0], taken[taken >= 0])

    def matches(self, theirs: EditKeys) -> tuple[Indices, Indices]:
        """Return (our row, their row) for each of our rows that shares a key with one of theirs, the first of them."""
        if len(theirs.keys) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        start = np.searchsorted(theirs.keys, self.keys)
        start[start == len(theirs.keys)] = 0
        is_shared = theirs.keys[start] == self.keys
        ours, others = self.rows[is_shared], theirs.rows[start[is_shared]]
        order = np.lexsort((others, ours))
        ours, others = ours[order], others[order]
        is_first = np.concatenate(([True], np.diff(ours) != 0))[: len(ours)]
        return ours[is_first], others[is_first]

    def components(self, num_rows: int) -> Indices:
        """Return for each row the first row that shared keys link it to."""
        is_same = self.keys[1:] == self.keys[:-1]
        return connected(self.rows[:-1][is_same], self.rows[1:][is_same], num_rows)


EMPTY_KEYS = EditKeys(np.zeros(0, np.uint64), np.zeros(0, np.int64))


class EditBuilder:
    """Collects the keys of rows. `is_number_free`: a number changed is another row, as in questions that stand alone."""

    def __init__(self, *, is_number_free: bool = False) -> None:
        self._is_number_free = is_number_free
        self._vocabulary = _Vocabulary()
        self._words: list[int] = []
        self._sizes: list[int] = []
        self._spaceless: list[int] = []
        self._system_sizes: dict[str, int] = {}
        self._num_rows = 0
        self._chunks: list[EditKeys] = []

    def add(self, row: Row, prompt: Sequence[str], answer: Sequence[str]) -> None:
        """Add a row with its folded words."""
        words = [*prompt[self._system_size(row) :], *answer]
        if len(words) <= MAX_WORDS:
            self._words.extend(map(self._vocabulary.__getitem__, words))
            self._sizes.append(len(words))
            spaceless = "".join(word if word.isalpha() else f" {word} " for word in words)
        else:
            self._sizes.append(0)
            spaceless = "".join(words)
        self._spaceless.append(xxhash.xxh3_64_intdigest(spaceless.encode("utf-8", "surrogatepass"), _SPACELESS))
        if len(self._sizes) >= _CHUNK_ROWS:
            self._flush()

    def finish(self) -> EditKeys:
        """Return the keys of all rows, those of families less their changes."""
        self._flush()
        self._vocabulary.clear()
        keys = np.concatenate([chunk.keys for chunk in self._chunks])
        rows = np.concatenate([chunk.rows for chunk in self._chunks])
        order = np.argsort(keys, kind="stable")
        found = EditKeys(keys[order], rows[order] >> 1)
        component = found.components(self._num_rows)
        sizes = np.bincount(component, minlength=self._num_rows)
        is_change = (rows[order] & 1).astype(bool)
        is_kept = ~(is_change & (sizes[component] > FAMILY_ROWS)[found.rows])
        return EditKeys(found.keys[is_kept], found.rows[is_kept])

    def _system_size(self, row: Row) -> int:
        system = system_prompt(row)
        if system is None:
            return 0
        if (size := self._system_sizes.get(system)) is None:
            if len(self._system_sizes) >= _CHUNK_ROWS:
                self._system_sizes.clear()
            size = self._system_sizes[system] = len(words_of(system))
        return size

    def _flush(self) -> None:
        words, sizes = np.array(self._words, dtype=np.uint64), np.array(self._sizes, dtype=np.int64)
        spaceless = np.array(self._spaceless, dtype=np.uint64)
        first, self._num_rows = self._num_rows, self._num_rows + len(sizes)
        self._words, self._sizes, self._spaceless = [], [], []
        all_rows = np.arange(first, self._num_rows, dtype=np.int64)
        whole, changes, place = _sequence_keys(words, sizes)
        is_used = sizes[place] >= MIN_WORDS
        if self._is_number_free:
            is_used &= (words & _HAS_DIGIT) == 0
        keys = np.concatenate((whole[sizes > 0], spaceless, changes[is_used]))
        # the lowest bit of a row number tells changes from what a row says as a whole
        rows = np.concatenate((all_rows[sizes > 0] << 1, all_rows << 1, (all_rows[place[is_used]] << 1) | 1))
        self._chunks.append(EditKeys(keys, rows))


def keys_of(rows: Sequence[Row], *, prompts_alone: bool = False) -> EditKeys:
    """Return the keys of a few rows, or of their prompts alone."""
    builder = EditBuilder(is_number_free=prompts_alone)
    for row in rows:
        prompt, answer = row_words(row)
        builder.add(row, prompt, () if prompts_alone else answer)
    return builder.finish()


def connected(left: Indices, right: Indices, num_rows: int) -> Indices:
    """Return for each row the first row that the links connect it to."""
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(num_rows, num_rows))
    component = connected_components(graph, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    labels: Indices = first[component].astype(np.int64)
    return labels


def _sequence_keys(words: Keys, sizes: Indices) -> tuple[Keys, Keys, Indices]:
    """Return each row's key, for each word the key of its row without it, and the row of each word.

    A sequence's hash is the sum of word x base^place; leaving a word out moves the rest one place down.
    """
    ends = np.cumsum(sizes)
    place = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    within = np.arange(len(words), dtype=np.int64) - (ends - sizes)[place]
    terms = words * _POWERS[within]
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    before = sums[:-1] - sums[(ends - sizes)[place]]
    after = sums[ends[place]] - sums[1:]
    changes = _mixed(before + after * np.uint64(_UNBASE), sizes[place] - 1)
    return _mixed(sums[ends] - sums[ends - sizes], sizes), changes, place


def _mixed(hashes: Keys, sizes: Indices) -> Keys:
    mixed = (hashes ^ (hashes >> np.uint64(31))) * _LENGTH + sizes.astype(np.uint64)
    keys: Keys = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(_BASE)
    return keys


class _Vocabulary(dict[str, int]):
    """Hashes of words; the lowest bit tells whether a word has a digit."""

    def __missing__(self, word: str) -> int:
        digest = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        value = self[word] = digest & ~1 | any(map(str.isdigit, word))
        return value
