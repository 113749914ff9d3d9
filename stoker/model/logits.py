"""Logits where a label is, and nowhere else: the decoder's states, then the head at the scored positions only.

A prompt's positions are most of a batch and the head is most of a small model's work (FINDINGS, speed of training).
The short way skips the model's own forward, so it is taken only when `is_short_way_sound` has seen both agree, and
never for architectures that change logits after the head. Autocast is explicit here: calling the decoder by hand
bypasses accelerate's.

B batch, T positions, N scored positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from stoker.model.device import Hardware, autocast

Batch = Mapping[str, Tensor]
_PROBE_TOKENS = 2048
# Config entries with which a model changes its logits or its loss behind the head, and the values that change nothing.
_AFTER_THE_HEAD = (
    "final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier_scale",
    "output_router_logits",
)  # fmt: skip
_NEUTRAL = (None, False, 1, 1.0)


class Parts(NamedTuple):
    """A causal model taken apart. `can_share_mask`: one causal mask serves every layer and row."""

    decoder: nn.Module
    head: nn.Module
    can_share_mask: bool
    dtype: torch.dtype


def parts_of(model: Any) -> Parts | None:
    """Return the model's decoder and head, looking through adapters; None when the logits need more than the head."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = causal.config.get_text_config()
    if any(getattr(config, name, None) not in _NEUTRAL for name in _AFTER_THE_HEAD):
        return None
    decoder, head = causal.get_decoder(), causal.get_output_embeddings()
    if decoder is None or head is None or decoder is causal:
        return None
    return Parts(decoder, head, _can_share_mask(config), decoder.get_input_embeddings().weight.dtype)


def states_at_labels(parts: Parts, batch: Batch) -> Tensor:
    """Return the hidden states [N, D] that predict the batch's labels."""
    inputs: dict[str, Tensor] = {"input_ids": batch["input_ids"]}
    if "position_ids" in batch:
        inputs["position_ids"] = batch["position_ids"]
    elif parts.can_share_mask:
        inputs["attention_mask"] = _causal_mask(batch["input_ids"], parts.dtype)
    states_BTD: Tensor = parts.decoder(**inputs, use_cache=False).last_hidden_state
    return states_BTD.flatten(0, 1).index_select(0, batch["positions"])


def own_logits_at_labels(model: Any, batch: Batch) -> Tensor:
    """Return the logits [N, V] at the batch's labels from the model's own forward."""
    logits_BTV: Tensor = model(**forward_inputs(batch), use_cache=False).logits
    return logits_BTV.flatten(0, 1).index_select(0, batch["positions"])


def forward_inputs(batch: Batch) -> dict[str, Tensor]:
    """Return what of a batch a model's own forward takes, without labels."""
    return {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}


_soundness: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def is_short_way_sound(model: Any, batch: Batch, hardware: Hardware | None = None) -> bool:
    """Say whether the short way gives the loss of the model's own forward; compared once per model, on a small part."""
    sound = _soundness.get(model)
    if sound is None:
        sound = _soundness[model] = _agrees(model, _small_part(batch), hardware)
    return sound


def _agrees(model: Any, batch: Batch, hardware: Hardware | None) -> bool:
    parts = parts_of(model)
    if parts is None:
        return False
    with evaluating(model), torch.no_grad(), autocast(hardware) if hardware else contextlib.nullcontext():
        own = model(**forward_inputs(batch), labels=batch["labels"], use_cache=False).loss
        short = functional.cross_entropy(parts.head(states_at_labels(parts, batch)).float(), batch["targets"])
        is_bf16 = torch.is_autocast_enabled(own.device.type) or next(model.parameters()).dtype is torch.bfloat16
    tolerance = 5e-3 if is_bf16 else 1e-3
    return bool(abs(float(own) - float(short)) <= tolerance * abs(float(own)) + 1e-5)


def computing(model: Any, hardware: Hardware) -> contextlib.AbstractContextManager[object]:
    """Return the context for asking a model: autocast, unless its weights have the hardware's dtype already."""
    if all(parameter.dtype is hardware.dtype for parameter in model.parameters()):
        return contextlib.nullcontext()
    return autocast(hardware)


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _small_part(batch: Batch) -> Batch:
    """Return the first sequences of a batch: the own forward scores every position, which a full batch has no room for."""
    input_ids, labels = batch["input_ids"], batch["labels"]
    if "position_ids" not in batch:
        rows = max(1, _PROBE_TOKENS // input_ids.shape[1])
        part = {"input_ids": input_ids[:rows], "labels": labels[:rows]}
    else:
        starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
        ends = [*starts[1:], input_ids.shape[1]]
        end = max([ends[0], *(end for end in ends if end <= _PROBE_TOKENS)])
        part = {name: batch[name][:, :end] for name in ("input_ids", "labels", "position_ids")}
    flat = part["labels"].flatten()
    at = (flat != -100).nonzero().flatten()
    return {**part, "positions": at - 1, "targets": flat[at]}


def _can_share_mask(config: Any) -> bool:
    """Say whether the model uses plain eager attention with no window: then one additive mask serves all of it."""
    if config._attn_implementation != "eager":
        return False
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return set(layer_types) == {"full_attention"}
    return getattr(config, "sliding_window", None) is None


_masks: dict[tuple[torch.device, torch.dtype], Tensor] = {}


def _causal_mask(input_ids_BT: Tensor, model_dtype: torch.dtype) -> Tensor:
    """Return an additive causal mask [1, 1, T, T], a view of the largest made so far, in the dtype of the scores."""
    device, width = input_ids_BT.device, input_ids_BT.shape[1]
    is_cast = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if is_cast else model_dtype
    mask = _masks.get((device, dtype))
    if mask is None or mask.shape[0] < width:
        with torch.inference_mode(False):  # one made while scoring must serve training too
            mask = torch.full((width, width), torch.finfo(dtype).min, dtype=dtype, device=device).triu_(1)
        _masks[device, dtype] = mask
    return mask[None, None, :width, :width]
