"""Texts to token ids through a folder's tokenizer.json: the reference library, and a faster one behind a comparison.

`fastokens` is some twenty times as fast and young, so its ids are compared with the reference's on the first texts and on a
sample of all that follow. The first difference ends its use, and `is_doubted` tells that what it counted must be counted anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from stoker.data.tokens.folder import TOKENIZER

FIRST_TEXTS = 256
SAMPLE_EVERY = 512


class Batch(NamedTuple):
    """Token ids of texts end to end: text i has `ids[offsets[i]:offsets[i + 1]]`."""

    ids: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]

    def of(self, text: int) -> npt.NDArray[np.uint32]:
        return self.ids[self.offsets[text] : self.offsets[text + 1]]


class ReferenceEncoder:
    """Hugging Face's own tokenizers, which training uses."""

    is_doubted = False

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str], *, with_special: bool = False) -> Batch:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=with_special)
        ids = [encoding.ids for encoding in encodings]
        offsets = np.concatenate(([0], np.cumsum([len(one) for one in ids]))).astype(np.int64)
        return Batch(np.fromiter((i for one in ids for i in one), np.uint32, offsets[-1]), offsets)

    def token_id(self, text: str) -> int | None:
        """Return the id of a token, None when it has none."""
        number: int | None = self._tokenizer.token_to_id(text)
        return number


class CheckedEncoder:
    """The fast library as long as it agrees with the reference."""

    def __init__(self, folder: Path) -> None:
        self.is_doubted = False
        self._reference = ReferenceEncoder(folder)
        self._fast = _load_fast(folder)
        self._num_texts = {False: 0, True: 0}

    def encode(self, texts: Sequence[str], *, with_special: bool = False) -> Batch:
        """Return the ids of texts; `with_special`: with the tokens that the tokenizer puts around a text."""
        found = self._encode_fast(list(texts), with_special) if self._fast is not None else None
        return self._reference.encode(texts, with_special=with_special) if found is None else found

    def token_id(self, text: str) -> int | None:
        return self._reference.token_id(text)

    def _encode_fast(self, texts: list[str], with_special: bool) -> Batch | None:
        try:
            ids, offsets = self._fast.encode_batch_flat(texts, add_special_tokens=with_special)
        except Exception:  # noqa: BLE001 - whatever a young library can't do, the reference can
            self._give_up()
            return None
        found = Batch(np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64))
        before = self._num_texts[with_special]
        self._num_texts[with_special] += len(texts)
        first = range(min(len(texts), max(0, FIRST_TEXTS - before)))
        sample = [*first, *range(max(len(first), -before % SAMPLE_EVERY), len(texts), SAMPLE_EVERY)]
        right = self._reference.encode([texts[i] for i in sample], with_special=with_special)
        if len(found.offsets) != len(texts) + 1 or any(
            not np.array_equal(found.of(i), right.of(at)) for at, i in enumerate(sample)
        ):
            self._give_up()
            return None
        return found

    def _give_up(self) -> None:
        self.is_doubted = any(self._num_texts.values())
        self._fast = None


def _load_fast(folder: Path) -> Any:
    """Return the fast library's tokenizer, None where it isn't installed or can't read this one."""
    try:
        from fastokens import Tokenizer as FastTokenizer

        tokenizer = FastTokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except Exception:  # noqa: BLE001 - a tokenizer of a kind that it does not know; the reference reads it
        return None
    return tokenizer
