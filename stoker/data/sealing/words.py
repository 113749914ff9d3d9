"""Texts to the hashes of their folded words, thousands at a time.

Case, punctuation and spacing don't count; characters of scripts written without spaces count as words; a text without any word
is cut at its spaces. Hashes are fixed for ever (xxh3): words of different files and times compare.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

WordHashes = npt.NDArray[np.uint64]
Sizes = npt.NDArray[np.int64]

HAS_DIGIT, NOT_ALPHA = 1, 2
_MAX_VOCABULARY = 2_000_000
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_FOLD = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalnum()})
_SPACE = 0x20
_FOLD_BYTES = bytes(
    code if code > 127 else ord(chr(code).lower()) if chr(code).isalnum() else _SPACE for code in range(256)
)

_SIGNS = bytes(code for code in range(128) if not chr(code).isalnum())


def words_of(text: str) -> list[str]:
    """Return the folded words of a text."""
    words = text.lower().translate(_FOLD).split() if text.isascii() else _folded(text)
    return words or text.split()


def squeezed(text: str) -> bytes:
    """Return the characters of a text's words, without what is between them; nothing for a text of signs alone."""
    return text.encode().translate(_FOLD_BYTES, _SIGNS) if text.isascii() else "".join(_folded(text)).encode()


@dataclass(frozen=True, slots=True)
class FoldedTexts:
    """Texts as folded words, end to end in `data`. Texts of signs alone (`wordless`) have no words here.

    Word i is `data[edges[2 * i] : edges[2 * i + 1]]`; a space at least is around it. `kinds` has HAS_DIGIT and NOT_ALPHA.
    """

    data: bytes
    edges: npt.NDArray[np.int32]
    hashes: WordHashes
    kinds: npt.NDArray[np.uint8]
    sizes: Sizes
    wordless: list[int]

    def spaceless(self) -> tuple[bytes, Sizes]:
        """Return the words without what is between them, and where each begins (and the last ends).

        A word that is not of letters alone keeps a space on either side: "1 23" is not "12 3".
        """
        lengths = np.diff(self.edges)[::2].astype(np.int64)
        is_apart = (self.kinds & NOT_ALPHA) != 0
        begins = np.concatenate(([0], np.cumsum(lengths + 2 * is_apart)))
        if not is_apart.any():
            return self.data.translate(None, b" "), begins
        characters = np.frombuffer(self.data, np.uint8)
        times = (characters != _SPACE).astype(np.int64)
        times[self.edges[::2][is_apart] - 1] += 1
        times[self.edges[1::2][is_apart]] += 1
        return np.repeat(characters, times).tobytes(), begins


class Vocabulary:
    """The hash of each word seen so far."""

    def __init__(self) -> None:
        self._hashes: dict[bytes, int] = {}

    def hash_texts(self, texts: Sequence[str]) -> tuple[WordHashes, Sizes]:
        """Return the words' hashes of all texts end to end, and how many words each text has."""
        return self.with_signs(texts, self.fold_texts(texts))

    def fold_texts(self, texts: Sequence[str]) -> FoldedTexts:
        """Return the words of texts, but for the signs of those that have no word."""
        parts = [text.encode() if text.isascii() else " ".join(_folded(text)).encode() for text in texts]
        data = b" ".join((b"", *parts, b"")).translate(_FOLD_BYTES)
        is_word = np.frombuffer(data, np.uint8) != _SPACE
        edges = (np.flatnonzero(is_word[1:] != is_word[:-1]) + 1).astype(np.int32)
        starts = np.cumsum([1, *(len(part) + 1 for part in parts)])
        sizes = np.diff(np.searchsorted(edges[::2], starts))
        hashes, kinds = self._hash_spans(data, edges)
        wordless = [i for i in np.flatnonzero(sizes == 0).tolist() if not (texts[i] == "" or texts[i].isspace())]
        return FoldedTexts(data, edges, hashes, kinds, sizes, wordless)

    def with_signs(self, texts: Sequence[str], folded: FoldedTexts) -> tuple[WordHashes, Sizes]:
        """Return the words' hashes and how many each text has, the signs of texts without a word among them."""
        if not folded.wordless:
            return folded.hashes, folded.sizes
        return self._insert_signs(texts, folded.wordless, folded.hashes, folded.sizes.copy())

    def hash_words(self, words: Iterable[str]) -> list[int]:
        return [self._hash(word.encode("utf-8", "surrogatepass")) for word in words]

    def _hash_spans(self, data: bytes, edges: npt.NDArray[np.int32]) -> tuple[WordHashes, npt.NDArray[np.uint8]]:
        """Return hash and kind of each word; words and gaps alternate between `edges`. Each distinct word is hashed once."""
        if len(edges) < 2:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint8)
        import pyarrow as pa  # a sixth of a gigabyte of address space, so only once there are rows

        spans = pa.BinaryArray.from_buffers(
            pa.binary(), len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(data)]
        ).dictionary_encode()
        if len(self._hashes) > _MAX_VOCABULARY:
            self._hashes.clear()
        words = spans.dictionary.to_pylist()
        distinct = np.array([self._hash(word) for word in words], dtype=np.uint64)
        kinds = np.array([0 if word.isalpha() else _kind(word.decode()) for word in words], dtype=np.uint8)
        chosen = spans.indices.to_numpy()[::2]
        return distinct[chosen], kinds[chosen]

    def _insert_signs(
        self, texts: Sequence[str], wordless: Sequence[int], hashes: WordHashes, sizes: Sizes
    ) -> tuple[WordHashes, Sizes]:
        """Give texts of signs alone ("?!") their words."""
        signs = [self.hash_words(texts[i].split()) for i in wordless]
        ends = np.cumsum(sizes)
        places = np.repeat(ends[wordless], [len(one) for one in signs])
        sizes[wordless] = [len(one) for one in signs]
        return np.insert(hashes, places, np.array([one for some in signs for one in some], dtype=np.uint64)), sizes

    def _hash(self, word: bytes) -> int:
        value = self._hashes.get(word)
        if value is None:
            value = self._hashes[word] = xxhash.xxh3_64_intdigest(word)
        return value


def _kind(word: str) -> int:
    return (HAS_DIGIT if any(map(str.isdigit, word)) else 0) | (0 if word.isalpha() else NOT_ALPHA)


def _folded(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
