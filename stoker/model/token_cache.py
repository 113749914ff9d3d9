"""Tokenised datasets on disk, so that a dataset is tokenised once for each tokenizer and chat template.

A cached set is keyed by everything its tokens depend on, published whole, verified when it is opened and then
memory-mapped. A damaged one is made again. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from stoker.data.dataset import Dataset
from stoker.data.rows import Row
from stoker.durable import MANIFEST, publish_folder, sha256_file, verify_folder
from stoker.errors import Damaged
from stoker.model.encoded import EncodedSet, Refused
from stoker.model.tokenizing import encode_rows

__all__ = ["EncodedSet", "encode_dataset", "tokenizer_sha256"]

Side = Literal["train", "heldout"]
_FORMAT = 1  # grows when tokenising changes
_ARRAYS = ("ids", "trained", "offsets", "row_index", "lines")
_ROWS = "rows.json"
_SMALLEST_MAPPED_BYTES = 1 << 16

logger = logging.getLogger(__name__)


def encode_dataset(dataset: Dataset, tokenizer: Any, side: Side, cache: Path) -> EncodedSet:
    """Return a dataset's sequences of one side, from the cache or into it. Rows the template refuses are in `refused`."""
    folder = cache / _key(dataset, tokenizer, side)
    if not (folder / MANIFEST).exists():
        _make(dataset, tokenizer, side, folder)
    try:
        verify_folder(folder)
    except Damaged as error:
        logger.warning("tokens are made again: %s", error)
        _make(dataset, tokenizer, side, folder)
    return _open(folder)


def tokenizer_sha256(tokenizer: Any) -> str:
    """Return the identity of a tokenizer and its chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = (
        backend.to_str() if backend is not None else orjson.dumps(sorted(tokenizer.get_vocab().items())).decode()
    )
    parts = [vocabulary, str(tokenizer.chat_template), str(sorted(tokenizer.special_tokens_map.items()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _key(dataset: Dataset, tokenizer: Any, side: Side) -> str:
    parts = [str(_FORMAT), sha256_file(dataset.folder / MANIFEST), side, tokenizer_sha256(tokenizer)]
    return f"{dataset.folder.name}-{side}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:24]}"


def _make(dataset: Dataset, tokenizer: Any, side: Side, folder: Path) -> None:
    rows = dataset.train_rows() if side == "train" else dataset.heldout_rows()
    encoded = encode_all(rows, tokenizer)
    facts = {"kind": "tokens", "dataset": dataset.folder.name, "side": side}
    with publish_folder(folder, facts, fault="tokens") as staging:
        for name in _ARRAYS:
            np.save(staging / f"{name}.npy", getattr(encoded, name), allow_pickle=False)
        (staging / _ROWS).write_bytes(
            orjson.dumps({"row_ids": encoded.row_ids, "refused": [list(row) for row in encoded.refused]})
        )


def encode_all(rows: Sequence[Row], tokenizer: Any) -> EncodedSet:
    """Encode rows into one set, setting aside those that the chat template refuses."""
    reasons: dict[str, str] = {}
    encoded = encode_rows(rows, tokenizer, refused=reasons)
    refused = tuple(Refused(row.id, row.line, reasons[row.id]) for row in rows if row.id in reasons)
    return EncodedSet.from_rows((sequences for sequences in encoded if sequences), refused)


def _open(folder: Path) -> EncodedSet:
    arrays = {name: _array(folder / f"{name}.npy") for name in _ARRAYS}
    rows = orjson.loads((folder / _ROWS).read_bytes())
    refused = tuple(Refused(*entry) for entry in rows["refused"])
    return EncodedSet(**arrays, row_ids=tuple(rows["row_ids"]), refused=refused)


def _array(path: Path) -> NDArray[Any]:
    """Map a file's array; a plain array over the mapping, since numpy's own class makes every slice slow."""
    is_mapped = path.stat().st_size >= _SMALLEST_MAPPED_BYTES
    return np.asarray(np.load(path, mmap_mode="r" if is_mapped else None, allow_pickle=False))
