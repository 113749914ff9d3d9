"""The running answers' keys and values, a row each: an answer may join or leave between any two tokens.

A row's tokens lie at the places 0, 1, 2, ... of its own stretch of one buffer a layer, so joining copies one prompt and
leaving copies one row, whatever else is running. What lies behind a row's last token is masked. Layers that keep more
than plain keys and values (sliding windows, states) have no such rows: `Alone` answers one request at a time with
transformers' own cache.

N rows, H key heads, T places, D head size, V vocabulary, K joining prompts, W their longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from stoker.model.encoded import Ids
from stoker.model.load import Loaded, pad_token_id

_ROOM_TOKENS = 256
_PREFILL_TOKENS = 8192


class Rows(Protocol):
    """Rows 0 to N - 1 of a batch. What joins or steps returns the logits [.., V] that the next token is chosen from."""

    capacity: int

    @property
    def count(self) -> int:
        """Return the number of rows."""

    def join(self, prompts: Sequence[Ids]) -> Tensor:
        """Add prompts as the last rows."""

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append a token to every row."""

    def leave(self, row: int) -> None:
        """Take a row out; the last one takes its place."""


def rows_for(loaded: Loaded, capacity: int) -> Rows:
    """Return rows that fit the model's kind of cache."""
    layers = DynamicCache(config=_causal(loaded.model).config).layers
    if layers and all(type(layer) is DynamicLayer for layer in layers):
        return Slots(loaded, capacity, len(layers))
    return Alone(loaded)


class Slots:
    """Up to `capacity` rows over one buffer for each layer."""

    def __init__(self, loaded: Loaded, capacity: int, num_layers: int) -> None:
        self.capacity = capacity
        self._loaded = loaded
        self._lengths: list[int] = []
        self._places = _Places()
        self._cache = DynamicCache()
        self._cache.layers = [_SlotLayer(self._places) for _ in range(num_layers)]

    @property
    def count(self) -> int:
        return len(self._lengths)

    def join(self, prompts: Sequence[Ids]) -> Tensor:
        parts, start = [], 0
        while start < len(prompts):
            end = start + _num_within(prompts[start:], _PREFILL_TOKENS)
            parts.append(self._prefill(prompts[start:end]))
            start = end
        return torch.cat(parts)

    def step(self, tokens: Sequence[int]) -> Tensor:
        device = self._loaded.hardware.device
        lengths_N = torch.tensor(self._lengths, device=device)
        longest = max(self._lengths)
        self._places.at(lengths_N, longest)
        mask_NT = torch.arange(longest + 1, device=device)[None] <= lengths_N[:, None]
        logits_NTV: Tensor = self._loaded.model(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            attention_mask=mask_NT.long(),
            position_ids=lengths_N[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        self._lengths = [length + 1 for length in self._lengths]
        return logits_NTV[:, -1]

    def leave(self, row: int) -> None:
        last = len(self._lengths) - 1
        if row != last:
            for layer in self._cache.layers:
                layer.move(last, row, self._lengths[last])
        self._lengths[row] = self._lengths[last]
        self._lengths.pop()
        if not self._lengths:
            for layer in self._cache.layers:
                layer.release()

    def _prefill(self, prompts: Sequence[Ids]) -> Tensor:
        logits_KV, cache = _read(self._loaded, prompts)
        first, width = len(self._lengths), max(map(len, prompts))
        for mine, theirs in zip(self._cache.layers, cache.layers, strict=True):
            for i, prompt in enumerate(prompts):
                begin = width - len(prompt)
                mine.put(first + i, theirs.keys[i, :, begin:], theirs.values[i, :, begin:])
        self._lengths += [len(prompt) for prompt in prompts]
        return logits_KV


class Alone:
    """One row, in the cache that transformers makes for the model."""

    capacity = 1

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._cache: Any = None
        self._length = 0

    @property
    def count(self) -> int:
        return int(self._cache is not None)

    def join(self, prompts: Sequence[Ids]) -> Tensor:
        assert len(prompts) == 1 and self._cache is None
        logits_KV, self._cache = _read(self._loaded, prompts)
        self._length = len(prompts[0])
        return logits_KV

    def step(self, tokens: Sequence[int]) -> Tensor:
        device = self._loaded.hardware.device
        self._length += 1
        logits_NTV: Tensor = self._loaded.model(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            attention_mask=torch.ones((1, self._length), dtype=torch.int64, device=device),
            position_ids=torch.tensor([[self._length - 1]], device=device),
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return logits_NTV[:, -1]

    def leave(self, row: int) -> None:
        self._cache, self._length = None, 0


class _Places:
    """Where the next token of every row goes, the same for all layers."""

    rows: Tensor
    lengths: Tensor
    longest = 0

    def at(self, lengths_N: Tensor, longest: int) -> None:
        self.rows = torch.arange(len(lengths_N), device=lengths_N.device)
        self.lengths, self.longest = lengths_N, longest


class _SlotLayer(DynamicLayer):  # type: ignore[misc]  # untyped base
    """A layer's keys and values [rows, H, T, D]; grown in both directions when they are full."""

    def __init__(self, places: _Places) -> None:
        super().__init__()
        self._places = places
        self._both: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        places, count = self._places, key_states.shape[0]
        keys, values = self._with_room(count, places.longest + 1, key_states[0])
        keys[places.rows, :, places.lengths] = key_states[:, :, 0]
        values[places.rows, :, places.lengths] = value_states[:, :, 0]
        end = places.longest + 1
        return keys[:count, :, :end], values[:count, :, :end]

    def get_seq_length(self) -> int:
        return self._places.longest

    def put(self, row: int, keys_HTD: Tensor, values_HTD: Tensor) -> None:
        length = keys_HTD.shape[-2]
        keys, values = self._with_room(row + 1, length + 1, keys_HTD)
        keys[row, :, :length] = keys_HTD
        values[row, :, :length] = values_HTD

    def move(self, source: int, target: int, length: int) -> None:
        assert self._both is not None
        for buffer in self._both:
            buffer[target, :, :length] = buffer[source, :, :length]

    def release(self) -> None:
        self._both = None

    def _with_room(self, rows: int, places: int, like_HTD: Tensor) -> tuple[Tensor, Tensor]:
        old = self._both
        if old is not None and old[0].shape[0] >= rows and old[0].shape[2] >= places:
            return old
        heads, _, width = like_HTD.shape
        has_rows, has_places = (old[0].shape[0], old[0].shape[2]) if old else (0, 0)
        rows = rows if rows <= has_rows else max(rows, 2 * has_rows)
        places = max(has_places, places + max(_ROOM_TOKENS, places // 2)) if places > has_places else has_places
        rows = max(rows, has_rows)
        grown = tuple(like_HTD.new_zeros((rows, heads, places, width)) for _ in range(2))
        if old is not None:
            for buffer, before in zip(grown, old, strict=True):
                buffer[:has_rows, :, :has_places] = before
        self._both = (grown[0], grown[1])
        return self._both


def _read(loaded: Loaded, prompts: Sequence[Ids]) -> tuple[Tensor, Any]:
    """Read prompts, padded on the left as generation pads them; return the logits [K, V] at their ends and the cache."""
    width = max(map(len, prompts))
    ids = np.full((len(prompts), width), pad_token_id(loaded.tokenizer), dtype=np.int64)
    mask = np.zeros((len(prompts), width), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    device = loaded.hardware.device
    mask_KW = torch.from_numpy(mask).to(device)
    cache = DynamicCache(config=_causal(loaded.model).config)
    logits_KTV: Tensor = loaded.model(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=mask_KW,
        position_ids=(mask_KW.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    return logits_KTV[:, -1], cache


def _num_within(prompts: Sequence[Ids], budget: int) -> int:
    """Return how many of the prompts, the first at least, fill no more than `budget` places when padded."""
    count, width = 1, len(prompts[0])
    for prompt in prompts[1:]:
        width = max(width, len(prompt))
        if (count + 1) * width > budget:
            break
        count += 1
    return count


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
