"""Texts to the hashes of their folded words, thousands at a time.

Case, punctuation and spacing don't count; characters of scripts written without spaces count as words; a text without any word
is cut at its spaces. Hashes are fixed for ever (xxh3): words of different files and times compare.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import xxhash

WordHashes = npt.NDArray[np.uint64]
Sizes = npt.NDArray[np.int64]

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


class Vocabulary:
    """The hash of each word seen so far."""

    def __init__(self) -> None:
        self._hashes: dict[bytes, int] = {}

    def hash_texts(self, texts: Sequence[str]) -> tuple[WordHashes, Sizes]:
        """Return the words' hashes of all texts end to end, and how many words each text has."""
        parts = [text.encode() if text.isascii() else " ".join(_folded(text)).encode() for text in texts]
        data = b" ".join((b"", *parts, b"")).translate(_FOLD_BYTES)
        is_word = np.frombuffer(data, np.uint8) != _SPACE
        edges = (np.flatnonzero(is_word[1:] != is_word[:-1]) + 1).astype(np.int32)
        starts = np.cumsum([1, *(len(part) + 1 for part in parts)])
        sizes = np.diff(np.searchsorted(edges[::2], starts))
        hashes = self._hash_spans(data, edges)
        wordless = [i for i in np.flatnonzero(sizes == 0).tolist() if not (texts[i] == "" or texts[i].isspace())]
        if wordless:
            hashes, sizes = self._insert_signs(texts, wordless, hashes, sizes)
        return hashes, sizes

    def hash_words(self, words: Iterable[str]) -> list[int]:
        return [self._hash(word.encode("utf-8", "surrogatepass")) for word in words]

    def _hash_spans(self, data: bytes, edges: npt.NDArray[np.int32]) -> WordHashes:
        """Return the hash of each word; words and gaps alternate between `edges`. Each distinct word is hashed once."""
        if len(edges) < 2:
            return np.zeros(0, np.uint64)
        import pyarrow as pa  # a sixth of a gigabyte of address space, so only once there are rows

        spans = pa.BinaryArray.from_buffers(
            pa.binary(), len(edges) - 1, [None, pa.py_buffer(edges), pa.py_buffer(data)]
        ).dictionary_encode()
        if len(self._hashes) > _MAX_VOCABULARY:
            self._hashes.clear()
        distinct = np.array([self._hash(word) for word in spans.dictionary.to_pylist()], dtype=np.uint64)
        chosen: WordHashes = distinct[spans.indices.to_numpy()[::2]]
        return chosen

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


def _folded(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
