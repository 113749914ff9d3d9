"""Attention for decoding on a CPU: one new token against a cache, the query heads of a group taken together.

torch's kernel shares the work of reading keys and values between query positions, not between heads, and is up to
eight times slower when grouped heads are expanded. The numbers are the same. Longer queries go to the usual kernel.

B batch, H query heads, K key heads, G = H / K, T cached positions, D head size.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

DECODING = "stoker_decoding"


def register() -> None:
    """Make the kernel known to transformers under `DECODING`."""
    AttentionInterface.register(DECODING, _attend)
    AttentionMaskInterface.register(DECODING, sdpa_mask)


def _attend(
    module: Any,
    query_BHQD: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    batch, heads, length, width = query_BHQD.shape
    groups = key_BKTD.shape[1]
    is_per_head = attention_mask is not None and attention_mask.shape[1] != 1
    if length != 1 or heads == groups or is_per_head:
        attended: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query_BHQD, key_BKTD, value_BKTD, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return attended
    query_BKGD = query_BHQD.reshape(batch, groups, heads // groups, width)
    out_BKGD = functional.scaled_dot_product_attention(
        query_BKGD, key_BKTD, value_BKTD, attn_mask=attention_mask, scale=scaling
    )
    return out_BKGD.reshape(batch, 1, heads, width), None
