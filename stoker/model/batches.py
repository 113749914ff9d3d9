"""Batches: sequences padded on the right, or packed end to end in one row.

Neither carries an attention mask. Attention is causal and padding comes last, so no real token ever sees it; packed
sequences are told apart by position ids that start again, from which transformers builds the block mask (or the
variable-length kernel's bounds). `positions` and `targets` name the hidden states that are scored, so that the loss
needs no search on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stoker.model.encoded import Encoded

IGNORED = -100


def collate(
    sequences: Sequence[Encoded], pad_id: int, packing: bool, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Return one batch.

    input_ids, labels: [B, T], labels unshifted, -100 where nothing is trained; positions: [N], flat indices into
    [B * T] of the states that predict the N labels; targets: [N]; position_ids: [1, T], only when packed.
    """
    batch = _pack(sequences) if packing else _pad(sequences, pad_id)
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if device is None or device.type == "cpu":
        return tensors
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}


def _pad(sequences: Sequence[Encoded], pad_id: int) -> dict[str, np.ndarray]:
    width = max(len(sequence.ids) for sequence in sequences)
    input_ids = np.full((len(sequences), width), pad_id, dtype=np.int64)
    labels = np.full((len(sequences), width), IGNORED, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        length = len(sequence.ids)
        input_ids[row, :length] = sequence.ids
        labels[row, :length] = np.where(sequence.trained, sequence.ids, IGNORED)
    labels[:, 0] = IGNORED
    return {"input_ids": input_ids, "labels": labels, **_scored(labels)}


def _pack(sequences: Sequence[Encoded]) -> dict[str, np.ndarray]:
    lengths = [len(sequence.ids) for sequence in sequences]
    starts = np.cumsum([0, *lengths[:-1]])
    input_ids = np.concatenate([sequence.ids for sequence in sequences]).astype(np.int64)
    trained = np.concatenate([sequence.trained for sequence in sequences])
    labels = np.where(trained, input_ids, IGNORED)
    labels[starts] = IGNORED
    position_ids = np.arange(len(input_ids), dtype=np.int64) - np.repeat(starts, lengths)
    return {
        "input_ids": input_ids[None],
        "labels": labels[None],
        **_scored(labels[None]),
        "position_ids": position_ids[None],
    }


def _scored(labels: np.ndarray) -> dict[str, np.ndarray]:
    flat = labels.reshape(-1)
    at = np.flatnonzero(flat != IGNORED)
    return {"positions": at - 1, "targets": flat[at]}
