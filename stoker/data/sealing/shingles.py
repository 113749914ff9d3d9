"""Rows as sets of shingles (hashed word 3-grams), so that similarity is the Jaccard similarity of two sets.

A text shorter than three words is one shingle. Hashes are fixed for ever (of words, and constants): sets of different files and
times compare.
Tool definitions are left out; they are repeated from row to row.

Boilerplate: what more than a share of a file's rows hold, and system prompts that repeat in it, says nothing about
whether two rows are the same. It is a property of a file; two rows are compared without the boilerplate of both files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from stoker.data.rows import Content, Message, Row
from stoker.data.sealing.growing import GrowingArray
from stoker.data.sealing.words import FoldedTexts, Vocabulary, words_of

Hashes = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]
IntegerType = TypeVar("IntegerType", bound=np.integer)

SHINGLE_WORDS = 3
MIN_ROWS_FOR_BOILERPLATE = 20
MIN_BOILERPLATE_ROWS = 8
_CHUNK_ROWS = 4096
_TAKEN_ROWS, _PREFIXES_AT_ONCE = 65_536, 1 << 20

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_PADDING = 0x165667B19E3779F9


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """Sets of shingle hashes, one per row, end to end: row i is `flat[offsets[i]:offsets[i + 1]]`, sorted and unique."""

    flat: Hashes
    offsets: Indices

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Indices:
        return np.diff(self.offsets)

    def row_of_each(self) -> Indices:
        """Return for each element of `flat` the row it belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.sizes)

    def take(self, rows: npt.NDArray[np.integer]) -> ShingleSets:
        """Return the sets of some rows, in the order given."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(rows))):
            return self
        sizes = self.sizes[rows]
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        flat = np.empty(offsets[-1], self.flat.dtype)
        for start in range(0, len(rows), _TAKEN_ROWS):  # index arrays are many times as large as what they take
            end = min(start + _TAKEN_ROWS, len(rows))
            shifts = self.offsets[rows[start:end]] - offsets[start:end]
            places = np.arange(offsets[start], offsets[end], dtype=np.int64) + np.repeat(shifts, sizes[start:end])
            flat[offsets[start] : offsets[end]] = self.flat[places]
        return ShingleSets(flat, offsets)

    def without(self, boilerplate: Hashes) -> ShingleSets:
        """Return the sets less some shingles (sorted)."""
        if len(boilerplate) == 0 or len(self.flat) == 0:
            return self
        is_left_out = is_member(self.flat, boilerplate)
        left_out = np.flatnonzero(is_left_out)
        if len(left_out) == 0:
            return self
        return ShingleSets(self.flat[~is_left_out], self.offsets - np.searchsorted(left_out, self.offsets))


EMPTY_HASHES: Hashes = np.zeros(0, np.uint32)


class ShingleBuilder:
    """Collects texts and turns them into two families of sets: of whole rows, and of their prompts alone."""

    def __init__(self) -> None:
        self._vocabulary = Vocabulary()
        self._rows: list[Row] = []
        self._whole, self._prompts = _Sets(), _Sets()

    def add(self, row: Row) -> None:
        """Add a row's words: its prompt, then its answer. Plain text has no prompt."""
        self._rows.append(row)
        if len(self._rows) >= _CHUNK_ROWS:
            self._flush()

    def add_rows(self, rows: Sequence[Row]) -> RowWords:
        """Add rows at once and return their words."""
        self._flush()
        words = RowWords.of(rows, self._vocabulary)
        self._add_hashed(words)
        return words

    def finish(self) -> tuple[ShingleSets, ShingleSets]:
        """Return the sets of whole rows and of prompts, row for row; the builder is empty then."""
        self._flush()
        return self._whole.release(), self._prompts.release()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._add_hashed(RowWords.of(rows, self._vocabulary))

    def _add_hashed(self, given: RowWords) -> None:
        words, prompt_sizes = given.hashes, given.num_prompt
        sizes = prompt_sizes + given.num_answer
        rows, positions, hashes = _shingle(words, sizes)
        self._whole.add(*_unique_sets(rows, hashes, len(sizes)))
        is_prompt = positions + SHINGLE_WORDS <= prompt_sizes[rows]
        short = np.flatnonzero((prompt_sizes > 0) & (prompt_sizes < SHINGLE_WORDS))
        short_words = slices_of(words, np.cumsum(sizes) - sizes, np.where(_mask(short, len(sizes)), prompt_sizes, 0))
        short_rows, _, short_hashes = _shingle(short_words, prompt_sizes[short])
        prompt_rows = np.concatenate((rows[is_prompt], short[short_rows]))
        self._prompts.add(*_unique_sets(prompt_rows, np.concatenate((hashes[is_prompt], short_hashes)), len(sizes)))


class _Sets:
    """Sets of rows, a chunk at a time."""

    def __init__(self) -> None:
        self._flat, self._sizes = GrowingArray(np.uint32), GrowingArray(np.int64)

    def add(self, flat: Hashes, sizes: Indices) -> None:
        self._flat.extend(flat)
        self._sizes.extend(sizes)

    def release(self) -> ShingleSets:
        return ShingleSets(self._flat.release(), np.concatenate(([0], np.cumsum(self._sizes.release()))))


@dataclass(frozen=True, slots=True)
class RowWords:
    """The hashed words of rows, row after row: of each its prompt's, then its answer's; `folded` has the words."""

    hashes: npt.NDArray[np.uint64]
    num_prompt: Indices
    num_answer: Indices
    folded: FoldedTexts

    @classmethod
    def of(cls, rows: Sequence[Row], vocabulary: Vocabulary) -> RowWords:
        texts = [text for row in rows for text in row_texts(row)]
        folded = vocabulary.fold_texts(texts)
        hashes, sizes = vocabulary.with_signs(texts, folded)
        return cls(hashes, sizes[0::2], sizes[1::2], folded)


def row_words(row: Row) -> tuple[list[str], list[str]]:
    """Return the words of a row's prompt and of its answer."""
    prompt, answer = row_texts(row)
    return words_of(prompt), words_of(answer)


def row_texts(row: Row) -> tuple[str, str]:
    """Return the text of a row's prompt and of its answer, tool calls among them. Plain text has no prompt."""
    messages = row.content.messages
    if messages is None:
        return "", row.text or ""
    if len(messages) == 2 and len(messages[0]) == 2 and len(messages[1]) == 2 and row.content.chosen is None:
        return messages[0]["content"], messages[1]["content"]  # most rows: a question and its answer
    return _joined(row.prompt_messages()), _joined(row.answer_messages())


def system_prompt(row: Row) -> str | None:
    """Return the system prompt of a row, None when it has none."""
    if row.messages is not None and row.messages[0]["role"] == "system":
        return str(row.messages[0]["content"])
    return None


def find_boilerplate(sets: ShingleSets, share: float, repeated: Iterable[str] = ()) -> Hashes:
    """Return (sorted) the shingles that more than `share` of the rows hold, and those of `repeated` system prompts.

    A file of under MIN_ROWS_FOR_BOILERPLATE rows has none: a few copies of one row would pass for a template.
    """
    if len(sets) < MIN_ROWS_FOR_BOILERPLATE:
        return EMPTY_HASHES
    most = int(max(share * len(sets), MIN_BOILERPLATE_ROWS))
    ordered = np.sort(sets.flat)
    common = sorted_unique(ordered[most:][ordered[most:] == ordered[: max(0, len(ordered) - most)]])
    builder = ShingleBuilder()
    for text in repeated:
        builder.add(Row("", 0, Content(text=text)))
    return np.union1d(common, builder.finish()[0].flat).astype(np.uint32)


def sorted_unique(values: npt.NDArray[IntegerType]) -> npt.NDArray[IntegerType]:
    """Return the distinct values in order; many times faster than numpy's own, which hashes integers since 2.3."""
    ordered = np.sort(values)
    if len(ordered) == 0:
        return ordered
    is_first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    distinct: npt.NDArray[IntegerType] = ordered[is_first]
    return distinct


def is_member(values: Hashes, members: Hashes) -> npt.NDArray[np.bool_]:
    """Tell for each value whether it is in `members` (sorted, unique)."""
    found = np.zeros(len(values), bool)
    if len(members) == 0:
        return found
    likely = np.flatnonzero(shares_prefix(values, members))
    places = np.searchsorted(members, values[likely])
    places[places == len(members)] = 0
    found[likely] = members[places] == values[likely]
    return found


def shares_prefix(values: Hashes, members: Hashes) -> npt.NDArray[np.bool_]:
    """Tell for each value whether some member has the same first bits: always true of a member, seldom of another."""
    bits = min(26, max(16, len(members).bit_length() + 5))
    shift = np.uint32(32 - bits)
    table = np.zeros(1 << bits, np.bool_)
    table[members >> shift] = True
    found = np.empty(len(values), np.bool_)
    for start in range(0, len(values), _PREFIXES_AT_ONCE):  # index arrays are many times as large as what they take
        part = slice(start, start + _PREFIXES_AT_ONCE)
        found[part] = table[values[part] >> shift]
    return found


def _joined(messages: Sequence[Message]) -> str:
    if len(messages) == 1 and "tool_calls" not in messages[0]:
        return str(messages[0]["content"])
    parts: list[str] = []
    for message in messages:
        parts.append(message["content"])
        for call in message.get("tool_calls", ()):
            function = call["function"]
            parts += (function["name"], orjson.dumps(function["arguments"], option=orjson.OPT_SORT_KEYS).decode())
    return "\n".join(parts)


def _shingle(words: npt.NDArray[np.uint64], sizes: Indices) -> tuple[Indices, Indices, Hashes]:
    """Return row, position and hash of every shingle; a row shorter than a shingle is padded to one."""
    padded_sizes = np.where(sizes > 0, np.maximum(sizes, SHINGLE_WORDS), 0)
    starts = np.cumsum(padded_sizes) - padded_sizes
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), padded_sizes)
    positions = np.arange(len(rows), dtype=np.int64) - starts[rows]
    padded = np.full(len(rows), _PADDING, dtype=np.uint64)
    padded[positions < sizes[rows]] = words
    is_start = positions + SHINGLE_WORDS <= padded_sizes[rows]
    at = np.flatnonzero(is_start)
    mixed = (padded[at] * _FIRST + padded[at + 1]) * _SECOND + padded[at + 2]
    mixed ^= mixed >> np.uint64(29)
    mixed *= _FIRST
    return rows[at], positions[at], (mixed >> np.uint64(32)).astype(np.uint32)


def _unique_sets(rows: Indices, hashes: Hashes, num_rows: int) -> tuple[Hashes, Indices]:
    keys = sorted_unique((rows.astype(np.uint64) << np.uint64(32)) | hashes)
    sizes = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=num_rows)
    return keys.astype(np.uint32), sizes.astype(np.int64)


def slices_of(values: npt.NDArray[IntegerType], starts: Indices, lengths: Indices) -> npt.NDArray[IntegerType]:
    """Return slices of `values`, end to end."""
    within = np.arange(lengths.sum(), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    chosen: npt.NDArray[IntegerType] = values[np.repeat(starts, lengths) + within]
    return chosen


def _mask(rows: Indices, length: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(length, bool)
    mask[rows] = True
    return mask
