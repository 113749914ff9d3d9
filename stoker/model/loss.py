"""The training loss: cross-entropy summed over the labels of a batch, divided by the labels of the whole step.

`choose_loss` takes the short way of `logits` when it agrees with the model's own forward, and the own forward
otherwise. Where a step's logits would fill memory they are made in chunks and made again in the backward pass.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from stoker.model.device import Hardware, autocast
from stoker.model.logits import Batch, forward_inputs, is_short_way_sound, parts_of, states_at_labels

Loss = Callable[[Any, Batch, "int | Tensor"], Tensor]
_CHUNK_BYTES = 1 << 29

logger = logging.getLogger(__name__)


def choose_loss(model: Any, batch: Batch, hardware: Hardware | None = None) -> Loss:
    """Return the loss function to train this model with: `loss(model, batch, num_items)`.

    With `hardware` the function enters autocast itself; without, it runs in the caller's.
    """
    if is_short_way_sound(model, batch, hardware):
        # Taking the model apart walks its modules, so it is done here and not in every step.
        return _ShortWay(hardware)
    logger.info("the loss comes from the model's own forward: its architecture scores differently from its head")
    return lambda model, batch, num_items: own_loss(model, batch, num_items, hardware)


def label_losses(loss: Loss) -> Tensor | None:
    """Return the NLL [N] of each label of the batch that `loss` was last called with; None where the model's own forward made it."""
    return loss.nll_N if isinstance(loss, _ShortWay) else None


def supervised_loss(model: Any, batch: Batch, num_items: int | Tensor, hardware: Hardware | None = None) -> Tensor:
    """Return the summed cross-entropy at the batch's labels divided by `num_items`, in fp32, the short way."""
    return _ShortWay(hardware)(model, batch, num_items)


def own_loss(model: Any, batch: Batch, num_items: int | Tensor, hardware: Hardware | None = None) -> Tensor:
    """Return the same from the model's own forward, which scores every position and adds what its architecture adds."""
    with autocast(hardware) if hardware else contextlib.nullcontext():
        mean: Tensor = model(**forward_inputs(batch), labels=batch["labels"], use_cache=False).loss
    return mean.float() * (batch["targets"].numel() / num_items)


class _ShortWay:
    """The short way as a loss, remembering the parts of the model it was last called with.

    `nll_N` has the last batch's labels one by one; it is what the sum was made of, so it costs nothing and changes nothing.
    """

    def __init__(self, hardware: Hardware | None) -> None:
        self._hardware = hardware
        self._model: Any = None
        self.nll_N: Tensor | None = None

    def __call__(self, model: Any, batch: Batch, num_items: int | Tensor) -> Tensor:
        if self._model is not model:
            inner = getattr(model, "module", model)
            self._model, self._parts = model, parts_of(inner)
        if self._parts is None:
            self.nll_N = None
            return own_loss(model, batch, num_items, self._hardware)
        with autocast(self._hardware) if self._hardware else contextlib.nullcontext():
            states_ND = states_at_labels(self._parts, batch)
            summed, self.nll_N = _summed(self._parts.head, states_ND, batch["targets"])
            return summed / num_items


def _summed(head: Any, states_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    num_chunks = _num_chunks(head, len(targets_N)) if torch.is_grad_enabled() else 1
    if num_chunks == 1:
        return _cross_entropy(head, states_ND, targets_N)
    parts = zip(states_ND.chunk(num_chunks), targets_N.chunk(num_chunks), strict=True)
    losses = [checkpoint(_cross_entropy, head, states, targets, use_reentrant=False) for states, targets in parts]
    return torch.stack([summed for summed, _ in losses]).sum(), torch.cat([nll for _, nll in losses])


def _num_chunks(head: Any, num_labels: int) -> int:
    vocabulary = int(getattr(head, "out_features", 0))
    return max(1, min(num_labels, -(-num_labels * vocabulary * 4 // _CHUNK_BYTES)))


def _cross_entropy(head: Any, states_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum and each label's part of it: `functional.cross_entropy` is these two calls, bit for bit."""
    log_p_NV = functional.log_softmax(head(states_ND).float(), dim=-1)
    each_N = functional.nll_loss(log_p_NV.detach(), targets_N, reduction="none")
    return functional.nll_loss(log_p_NV, targets_N, reduction="sum"), each_N
