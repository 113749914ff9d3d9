"""The next token of each answer: the likeliest, or drawn at the answer's own temperature, nucleus and seed.

A draw depends on the answer's logits and its own generator alone, never on what else is in the batch.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. `temperature` 0: the likeliest. `num_logprobs` None: none are told."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    num_logprobs: int | None = None


@dataclass(frozen=True)
class Logprob:
    """A chosen token's log-probability, and the likeliest tokens with theirs."""

    token: int
    value: float
    top: tuple[tuple[int, float], ...]


@dataclass
class Chooser:
    """An answer's way of choosing; `generator` is made on the first draw, on the logits' device."""

    sampling: Sampling
    generator: Any = field(default=None)

    def draw(self, logits_V: Tensor) -> int:
        if self.generator is None:
            self.generator = torch.Generator(device=logits_V.device)
            seed = self.sampling.seed
            self.generator.manual_seed(secrets.randbits(63) if seed is None else seed & (2**63 - 1))
        probabilities_V = (logits_V.float() / self.sampling.temperature).softmax(-1)
        if self.sampling.top_p < 1.0:
            probabilities_V = _nucleus(probabilities_V, self.sampling.top_p)
        return int(torch.multinomial(probabilities_V, 1, generator=self.generator))


def choose(logits_NV: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """Return a token for each row."""
    tokens: list[int] = logits_NV.argmax(-1).tolist()
    for row, chooser in enumerate(choosers):
        if chooser.sampling.temperature > 0:
            tokens[row] = chooser.draw(logits_NV[row])
    return tokens


def logprob_of(logits_V: Tensor, token: int, num_top: int) -> Logprob:
    """Return the token's log-probability under the model itself: temperature and nucleus do not count."""
    logprobs_V = logits_V.float().log_softmax(-1)
    top = torch.topk(logprobs_V, num_top) if num_top else None
    pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)) if top is not None else ()
    return Logprob(token, float(logprobs_V[token]), pairs)


def _nucleus(probabilities_V: Tensor, top_p: float) -> Tensor:
    """Keep the likeliest tokens whose sum reaches `top_p` (Holtzman et al. 2020), one at least."""
    ordered_V, order_V = probabilities_V.sort(descending=True)
    is_outside_V = ordered_V.cumsum(-1) - ordered_V >= top_p
    return probabilities_V.scatter(-1, order_V, ordered_V.masked_fill(is_outside_V, 0.0))
