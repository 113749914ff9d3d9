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
from stoker.data.sealing.key_sorter import KeySorter
from stoker.data.sealing.shingles import Indices, RowWords, row_texts, row_words, slices_of, system_prompt
from stoker.data.sealing.words import HAS_DIGIT, FoldedTexts, Vocabulary, squeezed, words_of

Keys = npt.NDArray[np.uint64]

MIN_WORDS = 5
MAX_WORDS = 64
FAMILY_ROWS = 20
_CHUNK_ROWS = 4096
_BASE = 0x9E3779B97F4A7C15
_UNBASE = pow(_BASE, -1, 1 << 64)
_POWERS = np.array([pow(_BASE, place, 1 << 64) for place in range(MAX_WORDS)], dtype=np.uint64)
_LENGTH, _SPACELESS = np.uint64(0xC2B2AE3D27D4EB4F), 0x165667B19E3779F9
_HAS_DIGIT = np.uint64(HAS_DIGIT)


@dataclass(frozen=True, slots=True)
class EditKeys:
    """Keys (sorted) and the row of each; rows that share a key are a word apart or nearer."""

    keys: Keys
    rows: npt.NDArray[np.int32]

    def take(self, rows: npt.NDArray[np.integer], num_rows: int) -> EditKeys:
        """Return the keys of some rows of `num_rows`, which are numbered by their place in `rows`."""
        if len(rows) == num_rows and np.array_equal(rows, np.arange(num_rows)):
            return self
        place = np.full(num_rows, -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        is_taken = (place >= 0)[self.rows]
        return EditKeys(self.keys[is_taken], place[self.rows[is_taken]])

    def matches(self, theirs: EditKeys) -> tuple[Indices, Indices]:
        """Return (our row, their row) for each of our rows that shares a key with one of theirs, the first of them."""
        if len(theirs.keys) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        start = np.searchsorted(theirs.keys, self.keys)
        start[start == len(theirs.keys)] = 0
        is_shared = theirs.keys[start] == self.keys
        ours, others = self.rows[is_shared].astype(np.int64), theirs.rows[start[is_shared]].astype(np.int64)
        order = np.lexsort((others, ours))
        ours, others = ours[order], others[order]
        is_first = np.concatenate(([True], np.diff(ours) != 0))[: len(ours)]
        return ours[is_first], others[is_first]

    def components(self, num_rows: int) -> Indices:
        """Return for each row the first row that shared keys link it to."""
        is_same = self.keys[1:] == self.keys[:-1]
        return connected(self.rows[:-1][is_same], self.rows[1:][is_same], num_rows)


EMPTY_KEYS = EditKeys(np.zeros(0, np.uint64), np.zeros(0, np.int32))


class EditBuilder:
    """Collects the keys of rows, or of their prompts alone: then a number changed is another row."""

    def __init__(self, *, prompts_alone: bool = False) -> None:
        self._prompts_alone = prompts_alone
        self._words: list[Keys] = []
        self._sizes: list[Indices] = []
        self._spaceless: list[Keys] = []
        self._system_sizes: dict[str, int] = {}
        self._num_rows = self._num_waiting = 0
        self._sorter = KeySorter()

    def add_rows(self, rows: Sequence[Row], words: RowWords) -> None:
        """Add rows; `words` are theirs."""
        folded = words.folded
        num_prompt, num_answer = folded.sizes[0::2], folded.sizes[1::2]
        systems = np.array([self._system_size(row) for row in rows], dtype=np.int64)
        is_odd = systems < 0
        is_odd[np.array(folded.wordless, dtype=np.int64) // 2] = True
        systems[is_odd] = 0
        ends = np.cumsum(num_prompt + num_answer)
        firsts = ends - num_prompt - num_answer + systems
        lasts = ends - num_answer if self._prompts_alone else ends
        sizes = np.where(is_odd | (lasts - firsts > MAX_WORDS), 0, lasts - firsts)
        hashes = slices_of(folded.hashes, firsts, sizes) & ~_HAS_DIGIT
        hashes |= slices_of(folded.kinds, firsts, sizes) & np.uint8(HAS_DIGIT)
        spaceless = _spaceless_keys(folded, firsts, lasts)
        for place in np.flatnonzero(is_odd).tolist():
            signs, spaceless[place] = self._of_odd_row(rows[place])
            hashes = np.insert(hashes, sizes[:place].sum(), np.array(signs, dtype=np.uint64))
            sizes[place] = len(signs)
        self._wait(hashes, sizes, spaceless)

    def _wait(self, hashes: Keys, sizes: Indices, spaceless: Keys) -> None:
        self._words.append(hashes)
        self._sizes.append(sizes)
        self._spaceless.append(spaceless)
        self._num_waiting += len(sizes)
        if self._num_waiting >= _CHUNK_ROWS:
            self._flush()

    def _of_odd_row(self, row: Row) -> tuple[list[int], int]:
        """Return the words' hashes (none of too many) and the last key of a row with a text of signs alone."""
        size = self._system_size(row)
        size = -1 - size if size < 0 else size
        prompt, answer = row_words(row)
        words = [*prompt[size:], *(() if self._prompts_alone else answer)]
        num_words = len(prompt) + (0 if self._prompts_alone else len(answer)) - size
        if num_words > MAX_WORDS and (text := self._squeezed_row(row)):
            return [], xxhash.xxh3_64_intdigest(text, _SPACELESS)
        if len(words) > MAX_WORDS:
            return [], xxhash.xxh3_64_intdigest("".join(words).encode("utf-8", "surrogatepass"), _SPACELESS)
        spaceless = "".join(word if word.isalpha() else f" {word} " for word in words)
        return list(map(_hash_of, words)), xxhash.xxh3_64_intdigest(
            spaceless.encode("utf-8", "surrogatepass"), _SPACELESS
        )

    def _squeezed_row(self, row: Row) -> bytes:
        """Return the characters of a row's words, less its system prompt."""
        prompt, answer = row_texts(row)
        system = system_prompt(row)
        asked = squeezed(prompt)[len(squeezed(system)) if system is not None else 0 :]
        return asked if self._prompts_alone else asked + squeezed(answer)

    def finish(self) -> EditKeys:
        """Return the keys of all rows, those of families less their changes. It can be done once."""
        self._flush()
        keys, marks = self._sorter.finish()
        is_change = (marks & np.uint32(1)).astype(bool)
        marks >>= np.uint32(1)
        found = EditKeys(keys, marks.view(np.int32))
        component = found.components(self._num_rows)
        is_large = (np.bincount(component, minlength=self._num_rows) > FAMILY_ROWS)[component]
        if not is_large.any():
            return found
        is_change &= is_large[found.rows]
        return EditKeys(found.keys[~is_change], found.rows[~is_change])

    def _system_size(self, row: Row) -> int:
        """Return the number of words of a row's system prompt, below 0 (-1 less the number) when they are signs alone."""
        system = system_prompt(row)
        if system is None:
            return 0
        if (size := self._system_sizes.get(system)) is None:
            if len(self._system_sizes) >= _CHUNK_ROWS:
                self._system_sizes.clear()
            words = words_of(system)
            size = self._system_sizes[system] = -1 - len(words) if words and not squeezed(system) else len(words)
        return size

    def _flush(self) -> None:
        if not self._num_waiting:
            return
        words, sizes = np.concatenate(self._words), np.concatenate(self._sizes)
        spaceless = np.concatenate(self._spaceless)
        first, self._num_rows = self._num_rows, self._num_rows + len(sizes)
        self._words, self._sizes, self._spaceless, self._num_waiting = [], [], [], 0
        all_rows = np.arange(first, self._num_rows, dtype=np.uint32)
        whole, changes, place = _sequence_keys(words, sizes)
        is_used = sizes[place] >= MIN_WORDS
        if self._prompts_alone:
            is_used &= (words & _HAS_DIGIT) == 0
        keys = np.concatenate((whole[sizes > 0], spaceless, changes[is_used]))
        # the lowest bit of a row number tells changes from what a row says as a whole
        marks = (all_rows[sizes > 0] << 1, all_rows << 1, (all_rows[place[is_used]] << 1) | 1)
        self._sorter.add(keys, np.concatenate(marks).astype(np.uint32))


def keys_of(rows: Sequence[Row], *, prompts_alone: bool = False) -> EditKeys:
    """Return the keys of a few rows, or of their prompts alone."""
    builder = EditBuilder(prompts_alone=prompts_alone)
    builder.add_rows(rows, RowWords.of(rows, Vocabulary()))
    return builder.finish()


def connected(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer], num_rows: int) -> Indices:
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


def _spaceless_keys(folded: FoldedTexts, firsts: Indices, lasts: Indices) -> Keys:
    """Return for each row the key of its characters from one word to another; where they are many, of nothing else."""
    data, begins = folded.spaceless()
    view = memoryview(data)
    spans = zip(begins[firsts].tolist(), begins[lasts].tolist(), (lasts - firsts).tolist(), strict=True)
    keys = [
        xxhash.xxh3_64_intdigest(
            view[start:end] if num_words <= MAX_WORDS else data[start:end].replace(b" ", b""), _SPACELESS
        )
        for start, end, num_words in spans
    ]
    return np.array(keys, dtype=np.uint64)


def _hash_of(word: str) -> int:
    digest = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
    return digest & ~1 | any(map(str.isdigit, word))
