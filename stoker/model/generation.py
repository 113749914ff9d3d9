"""Answering prompts: greedy or sampled, many at once, or one piece by piece.

The decoding is transformers' `generate`, called in rounds of some tokens on one cache. Between rounds the answers
that have ended leave the batch, so one long answer does not make the finished ones be computed with it. Nothing of a
hub model's own generation settings (a repetition penalty, a temperature) is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from stoker.model.decoding_attention import DECODING, register
from stoker.model.encoded import Ids
from stoker.model.load import Loaded, pad_token_id
from stoker.model.logits import computing, evaluating
from stoker.model.tokenizing import stop_token_ids

_ROUND_TOKENS = 32
_STREAM_TOKENS = 4
_ROOM_TOKENS = 128

register()


@dataclass(frozen=True)
class Generated:
    """An answer. `finished`: it ended by itself, with a stop token (the last of `token_ids`) or text; neither is in `text`."""

    text: str
    token_ids: Ids
    finished: bool


def generate(
    loaded: Loaded,
    prompts: Sequence[Ids],
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    top_k: int = 0,
    stop: Sequence[str] = (),
) -> list[Generated]:
    """Answer prompts (token ids, see `encode_prompt`), `batch_size` at a time, greedily at temperature 0.

    The same call gives the same answers. A prompt that fills the model's context gets an empty, unfinished one.
    `top_k` (0: all) and `top_p` say which tokens are drawn from; an answer ends before the first text of `stop`.
    """
    answers: list[Generated | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    done = 0
    with _ready(loaded, _config(loaded, temperature, top_p, top_k), seed) as config:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = _Batch(loaded, [prompts[i] for i in chosen], max_new_tokens, config, stop)
            while not batch.is_done:
                batch.advance(_ROUND_TOKENS)
            for i, answer in zip(chosen, batch.answers(), strict=True):
                answers[i] = answer
            done += len(chosen)
            if on_progress is not None:
                on_progress(done, len(prompts))
    return [answer for answer in answers if answer is not None]


def stream(
    loaded: Loaded,
    prompt: Ids,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    *,
    top_k: int = 0,
    stop: Sequence[str] = (),
) -> Generator[str, None, Generated]:
    """Answer one prompt and yield its text in pieces; together they are the text that `generate` gives, which is returned."""
    told = ""
    with _ready(loaded, _config(loaded, temperature, top_p, top_k), seed) as config:
        batch = _Batch(loaded, [prompt], max_new_tokens, config, stop)
        while not batch.is_done:
            batch.advance(_STREAM_TOKENS)
            text = batch.answers()[0].text
            whole = text if batch.is_done else _settled(text, stop)
            if whole.startswith(told) and len(whole) > len(told):
                yield whole[len(told) :]
                told = whole
        return batch.answers()[0]


def context_tokens(loaded: Loaded) -> int:
    """Return how many tokens the model can see, prompt and answer together."""
    return _context_tokens(loaded.model)


def _settled(text: str, stop: Sequence[str]) -> str:
    """Return what of an unfinished answer no later token can change: no half character, no beginning of a stop text."""
    text = text.rstrip("\ufffd")
    lengths = (n for each in stop for n in range(min(len(each) - 1, len(text)), 0, -1) if text.endswith(each[:n]))
    return text[: len(text) - max(lengths, default=0)]


class _Batch:
    """Prompts being answered together, padded on the left, with their cache."""

    def __init__(
        self, loaded: Loaded, prompts: Sequence[Ids], max_new_tokens: int, config: Any, stop: Sequence[str] = ()
    ) -> None:
        self._loaded, self._config, self._stop_texts = loaded, config, tuple(stop)
        self._cut: dict[int, str] = {}
        self._stops = frozenset(config.eos_token_id)
        width = max(len(prompt) for prompt in prompts)
        self._left = min(max_new_tokens, _context_tokens(loaded.model) - width)
        self._answers: list[list[int]] = [[] for _ in prompts]
        self._alive = list(range(len(prompts)))
        self._cache = _growing_cache(loaded.model)
        ids = np.full((len(prompts), width), pad_token_id(loaded.tokenizer), dtype=np.int64)
        mask = np.zeros((len(prompts), width), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        self._ids_BT = torch.from_numpy(ids).to(loaded.hardware.device)
        self._mask_BT = torch.from_numpy(mask).to(loaded.hardware.device)

    @property
    def is_done(self) -> bool:
        return not self._alive or self._left <= 0

    def advance(self, num_tokens: int) -> None:
        """Add up to `num_tokens` to every answer, then let the ended ones go."""
        num_tokens = min(num_tokens, self._left)
        width = self._ids_BT.shape[1]
        self._config.max_new_tokens = num_tokens
        ids_BT: Tensor = self._loaded.model.generate(
            input_ids=self._ids_BT,
            attention_mask=self._mask_BT,
            past_key_values=self._cache,
            generation_config=self._config,
        )
        self._left -= num_tokens
        new = ids_BT[:, width:].tolist()
        keep = [row for row, tokens in enumerate(new) if not self._take(self._alive[row], tokens)]
        if not keep or self._left <= 0:
            self._alive = [self._alive[row] for row in keep]
            return
        self._mask_BT = torch.nn.functional.pad(self._mask_BT, (0, ids_BT.shape[1] - width), value=1)
        self._ids_BT = ids_BT
        if len(keep) < len(self._alive):
            self._keep(keep)

    def answers(self) -> list[Generated]:
        tokenizer = self._loaded.tokenizer
        generated = []
        for index, tokens in enumerate(self._answers):
            finished = bool(tokens) and tokens[-1] in self._stops
            text = tokenizer.decode(tokens[:-1] if finished else tokens, skip_special_tokens=True)
            if index in self._cut:
                text, finished = self._cut[index], True
            generated.append(Generated(text, np.array(tokens, dtype=np.int32), finished))
        return generated

    def _take(self, index: int, tokens: list[int]) -> bool:
        """Append tokens up to a stop token or text and say whether there was one."""
        answer = self._answers[index]
        num_before = len(answer)
        is_stopped = False
        for token in tokens:
            answer.append(token)
            if token in self._stops:
                is_stopped = True
                break
        return self._cut_at_stop_text(index, num_before) or is_stopped

    def _cut_at_stop_text(self, index: int, num_before: int) -> bool:
        """End an answer before the first stop text, with the token that completes it as its last."""
        if not self._stop_texts:
            return False
        answer, decode = self._answers[index], self._loaded.tokenizer.decode
        if self._find_stop(decode(answer, skip_special_tokens=True)) is None:
            return False
        for length in range(num_before + 1, len(answer) + 1):
            text = decode(answer[:length], skip_special_tokens=True)
            if (place := self._find_stop(text)) is not None:
                del answer[length:]
                self._cut[index] = text[:place]
                return True
        return False

    def _find_stop(self, text: str) -> int | None:
        places = [place for each in self._stop_texts if (place := text.find(each)) >= 0]
        return min(places, default=None)

    def _keep(self, rows: list[int]) -> None:
        kept = torch.tensor(rows, device=self._ids_BT.device)
        self._alive = [self._alive[row] for row in rows]
        self._ids_BT, self._mask_BT = self._ids_BT[kept], self._mask_BT[kept]
        self._cache.batch_select_indices(kept)


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]  # untyped base
    """Keys and values in a buffer with room: transformers' own layer copies everything at every token."""

    keys: Tensor
    values: Tensor
    _room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < new:
            self._room = (
                self._grown(self.keys, key_states, old, new),
                self._grown(self.values, value_states, old, new),
            )
        keys, values = self._room
        keys[..., old:new, :] = key_states
        values[..., old:new, :] = value_states
        self.keys, self.values = keys[..., :new, :], values[..., :new, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._room = None

    @staticmethod
    def _grown(old_BHTD: Tensor, like_BHTD: Tensor, old: int, new: int) -> Tensor:
        batch, heads, _, width = like_BHTD.shape
        buffer = like_BHTD.new_empty((batch, heads, new + max(_ROOM_TOKENS, new // 2), width))
        if old:
            buffer[..., :old, :] = old_BHTD
        return buffer


def _growing_cache(model: Any) -> DynamicCache:
    """Return the cache transformers would make, its plain layers replaced by growing ones."""
    cache = DynamicCache(config=_causal(model).config)
    cache.layers = [_GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _config(loaded: Loaded, temperature: float, top_p: float, top_k: int) -> Any:
    stops = dict.fromkeys(stop_token_ids(loaded.tokenizer))
    own = getattr(_causal(loaded.model).generation_config, "eos_token_id", None)
    stops.update(dict.fromkeys(own if isinstance(own, list) else [own] if own is not None else []))
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": top_k} if temperature else {}
    return GenerationConfig(
        eos_token_id=list(stops),
        pad_token_id=pad_token_id(loaded.tokenizer),
        use_cache=True,
        **(sampling or {"do_sample": False}),
    )


@contextlib.contextmanager
def _ready(loaded: Loaded, config: Any, seed: int) -> Iterator[Any]:
    """Put the model into asking mode and leave everything as it was: mode, settings, attention, random state."""
    causal = _causal(loaded.model)
    own_config, own_attention = causal.generation_config, causal.config._attn_implementation
    devices = [loaded.hardware.device] if loaded.hardware.is_cuda else []
    with evaluating(loaded.model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        causal.generation_config = config
        if loaded.hardware.device.type == "cpu":
            causal.set_attn_implementation(DECODING)
        try:
            with torch.inference_mode(), computing(loaded.model, loaded.hardware):
                yield config
        finally:
            causal.generation_config = own_config
            if loaded.hardware.device.type == "cpu":
                causal.set_attn_implementation(own_attention)


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _context_tokens(model: Any) -> int:
    return int(getattr(_causal(model).config.get_text_config(), "max_position_embeddings", None) or 1 << 30)
