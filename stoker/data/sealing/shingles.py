"""Rows as sets of shingles (hashed word 3-grams), so that similarity is the Jaccard similarity of two sets.

Case, punctuation and spacing don't count; characters of scripts written without spaces count as words. A text shorter
than three words is one shingle. Hashes are fixed for ever (xxh3 and constants): sets of different files and times compare.
Tool definitions are left out; they are repeated from row to row.

Boilerplate: what more than a share of a file's rows hold, and system prompts that repeat in it, says nothing about
whether two rows are the same. It is a property of a file; two rows are compared without the boilerplate of both files.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from stoker.data.rows import Message, Row

Hashes = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]
IntegerType = TypeVar("IntegerType", bound=np.integer)

SHINGLE_WORDS = 3
MIN_ROWS_FOR_BOILERPLATE = 20
MIN_BOILERPLATE_ROWS = 8
_CHUNK_ROWS = 4096
_MAX_VOCABULARY = 2_000_000

_FOLD = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalnum()})
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
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
        sizes = self.sizes[rows]
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        within = np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], sizes)
        return ShingleSets(self.flat[np.repeat(self.offsets[:-1][rows], sizes) + within], offsets)

    def without(self, boilerplate: Hashes) -> ShingleSets:
        """Return the sets less some shingles (sorted)."""
        if len(boilerplate) == 0 or len(self.flat) == 0:
            return self
        keep = ~is_member(self.flat, boilerplate)
        kept_before = np.concatenate(([0], np.cumsum(keep)))
        return ShingleSets(self.flat[keep], kept_before[self.offsets])


EMPTY_HASHES: Hashes = np.zeros(0, np.uint32)


class ShingleBuilder:
    """Collects texts and turns them into two families of sets: of whole rows, and of their prompts alone."""

    def __init__(self) -> None:
        self._vocabulary = _Vocabulary()
        self._words: list[int] = []
        self._num_words: list[int] = []
        self._num_prompt_words: list[int] = []
        self._whole: list[tuple[Hashes, Indices]] = []
        self._prompts: list[tuple[Hashes, Indices]] = []

    def add(self, row: Row) -> None:
        """Add a row's words: its prompt, then its answer. Plain text has no prompt."""
        self.add_words(*row_words(row))

    def add_words(self, prompt: Sequence[str], answer: Sequence[str]) -> None:
        hashes = self._vocabulary
        self._words.extend(map(hashes.__getitem__, prompt))
        self._words.extend(map(hashes.__getitem__, answer))
        self._num_prompt_words.append(len(prompt))
        self._num_words.append(len(prompt) + len(answer))
        if len(self._num_words) >= _CHUNK_ROWS:
            self._flush()

    def finish(self) -> tuple[ShingleSets, ShingleSets]:
        """Return the sets of whole rows and of prompts, row for row."""
        self._flush()
        return _join(self._whole), _join(self._prompts)

    def _flush(self) -> None:
        words = np.array(self._words, dtype=np.uint64)
        sizes = np.array(self._num_words, dtype=np.int64)
        prompt_sizes = np.array(self._num_prompt_words, dtype=np.int64)
        self._words, self._num_words, self._num_prompt_words = [], [], []
        if len(self._vocabulary) > _MAX_VOCABULARY:
            self._vocabulary.clear()
        rows, positions, hashes = _shingle(words, sizes)
        self._whole.append(_unique_sets(rows, hashes, len(sizes)))
        is_prompt = positions + SHINGLE_WORDS <= prompt_sizes[rows]
        short = np.flatnonzero((prompt_sizes > 0) & (prompt_sizes < SHINGLE_WORDS))
        short_words = _slices(words, np.cumsum(sizes) - sizes, np.where(_mask(short, len(sizes)), prompt_sizes, 0))
        short_rows, _, short_hashes = _shingle(short_words, prompt_sizes[short])
        prompt_rows = np.concatenate((rows[is_prompt], short[short_rows]))
        self._prompts.append(_unique_sets(prompt_rows, np.concatenate((hashes[is_prompt], short_hashes)), len(sizes)))


def row_words(row: Row) -> tuple[list[str], list[str]]:
    """Return the words of a row's prompt and of its answer."""
    if row.messages is None:
        return [], words_of(row.text or "")
    return words_of(_joined(row.prompt_messages())), words_of(_joined(row.answer_messages()))


def words_of(text: str) -> list[str]:
    """Return the folded words of a text; a text without any is one word, itself."""
    if text.isascii():
        words = text.lower().translate(_FOLD).split()
    else:
        words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return words or text.split()


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
    values, counts = np.unique(sets.flat, return_counts=True)
    common = values[counts > max(share * len(sets), MIN_BOILERPLATE_ROWS)]
    builder = ShingleBuilder()
    for text in repeated:
        builder.add_words([], words_of(text))
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
    if len(members) == 0:
        return np.zeros(len(values), bool)
    places = np.searchsorted(members, values)
    places[places == len(members)] = 0
    found: npt.NDArray[np.bool_] = members[places] == values
    return found


class _Vocabulary(dict[str, int]):
    def __missing__(self, word: str) -> int:
        value = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return value


def _joined(messages: Sequence[Message]) -> str:
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


def _join(chunks: list[tuple[Hashes, Indices]]) -> ShingleSets:
    sizes = np.concatenate([sizes for _, sizes in chunks])
    flat = np.concatenate([flat for flat, _ in chunks])
    return ShingleSets(flat, np.concatenate(([0], np.cumsum(sizes))).astype(np.int64))


def _slices(values: npt.NDArray[np.uint64], starts: Indices, lengths: Indices) -> npt.NDArray[np.uint64]:
    within = np.arange(lengths.sum(), dtype=np.int64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    chosen: npt.NDArray[np.uint64] = values[np.repeat(starts, lengths) + within]
    return chosen


def _mask(rows: Indices, length: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(length, bool)
    mask[rows] = True
    return mask
