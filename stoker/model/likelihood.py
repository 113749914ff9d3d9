"""How likely a model finds given answers: the mean negative log-likelihood of each sequence's trained tokens.

Sequences are batched by length, so little padding is computed, and results come back in the caller's order. A
sequence's number depends on its batch by rounding alone, and the batches depend on the sequences alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stoker.model.batches import collate
from stoker.model.encoded import Encoded, flatten
from stoker.model.load import Loaded, pad_token_id
from stoker.model.logits import (
    Batch,
    Parts,
    computing,
    evaluating,
    is_short_way_sound,
    own_logits_at_labels,
    parts_of,
    states_at_labels,
)  # fmt: skip

_CHUNK_BYTES = 1 << 28
_LEAST_BATCH_TOKENS = 64


def mean_nll(
    loaded: Loaded,
    encoded: Sequence[Encoded],
    max_tokens_per_batch: int = 8192,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Return the mean NLL (nats per trained token) of each sequence; NaN for one without trained tokens."""
    totals = np.zeros(len(encoded), dtype=np.float64)
    counts = token_counts(encoded)
    done = 0
    with evaluating(loaded.model), torch.inference_mode(), computing(loaded.model, loaded.hardware):
        parts: Parts | None = None
        for number, indices in enumerate(_batches(encoded, max_tokens_per_batch)):
            sequences = [encoded[int(i)] for i in indices]
            batch = collate(sequences, pad_token_id(loaded.tokenizer), packing=False, device=loaded.hardware.device)
            if number == 0 and is_short_way_sound(loaded.model, batch):
                parts = parts_of(loaded.model)
            losses = _token_losses(loaded.model, parts, batch).double().cpu().numpy()
            row_of_label = (batch["positions"] // batch["input_ids"].shape[1]).cpu().numpy()
            totals[indices] = np.bincount(row_of_label, weights=losses, minlength=len(indices))
            done += len(indices)
            if on_progress is not None:
                on_progress(done, len(encoded))
    with np.errstate(invalid="ignore"):
        return np.asarray(totals / np.where(counts, counts, np.nan))


def mean_nll_that_fits(
    loaded: Loaded, encoded: Sequence[Encoded], max_tokens_per_batch: int, on_progress: Callable[[int, int], None]
) -> NDArray[np.float64]:
    """Return `mean_nll`, in smaller batches when a GPU's memory is short."""
    while True:
        try:
            return mean_nll(loaded, encoded, max_tokens_per_batch, on_progress)
        except torch.OutOfMemoryError:
            if max_tokens_per_batch <= _LEAST_BATCH_TOKENS:
                raise
            max_tokens_per_batch //= 2
            torch.cuda.empty_cache()


def token_counts(encoded: Sequence[Encoded]) -> NDArray[np.int64]:
    """Return the number of trained tokens of each sequence."""
    return flatten(encoded).num_trained


def _batches(encoded: Sequence[Encoded], max_tokens: int) -> Iterator[NDArray[np.intp]]:
    """Yield indices of sequences of similar length, at most `max_tokens` positions (or one sequence) at a time."""
    lengths = flatten(encoded).lengths
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def _token_losses(model: Any, parts: Parts | None, batch: Batch) -> Tensor:
    targets = batch["targets"]
    if parts is None:
        return functional.cross_entropy(own_logits_at_labels(model, batch).float(), targets, reduction="none")
    states = states_at_labels(parts, batch)
    vocabulary = int(getattr(parts.head, "out_features", 0))
    chunk = max(1, _CHUNK_BYTES // max(1, 4 * vocabulary))
    pieces = [
        functional.cross_entropy(parts.head(some).float(), wanted, reduction="none")
        for some, wanted in zip(torch.split(states, chunk), torch.split(targets, chunk), strict=True)
    ]
    return torch.cat(pieces) if pieces else targets.new_zeros(0, dtype=torch.float32)
