"""Each layer's gradient norm, before clipping: where a gradient explodes or dies, which the global norm hides.

One pass over the gradients every `train.layer_norms_every` steps, computed on the device where the step left them; they are
read once the step is over. Gradients are not changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from stoker.mailbox.messages import Outbox
from stoker.spec.lab import TrainSpec
from stoker.train.conductor import StepFacts
from stoker.train.observing.budget import Budget

_BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_OUTSIDE = (("embed", "embed"), ("wte", "embed"), ("wpe", "embed"), ("head", "head"), ("norm", "norm"), ("ln_", "norm"))


class LayerNorms:
    """`measure` is called with a whole step's gradients in place, `after_step` sends what it found; `latest` is the last."""

    def __init__(
        self, named: Mapping[str, nn.Parameter], spec: Callable[[], TrainSpec], outbox: Outbox, budget: Budget
    ) -> None:
        self._spec, self._outbox, self._budget = spec, outbox, budget
        self._parameters = list(named.values())
        layers = [layer_of(name) for name in named]
        self._names = list(dict.fromkeys(layers))
        self._places = [self._names.index(layer) for layer in layers]
        self._norms: Tensor | None = None
        self.latest: tuple[int, dict[str, float]] | None = None

    def is_due(self, step: int) -> bool:
        """Tell whether a step (from 1) is measured."""
        every = self._spec().layer_norms_every
        return every > 0 and step % every == 0

    @torch.no_grad()
    def measure(self, step: int) -> None:
        """Take the norms of a step, if it is due; nothing waits for the device."""
        if not self.is_due(step):
            return
        with self._budget.spending():
            held = [(p.grad, at) for p, at in zip(self._parameters, self._places, strict=True) if p.grad is not None]
            norms = torch.stack(torch._foreach_norm([gradient for gradient, _ in held])).float()
            places = torch.tensor([place for _, place in held], device=norms.device)
            squares = norms.new_zeros(len(self._names)).index_add_(0, places, norms.square())
            self._norms = squares.sqrt()

    def after_step(self, facts: StepFacts) -> None:
        if self._norms is None:
            return
        with self._budget.spending():
            found = dict(zip(self._names, self._norms.tolist(), strict=True))
            self._norms, self.latest = None, (facts.step, found)
            told = {name: norm if math.isfinite(norm) else None for name, norm in found.items()}
            self._outbox.send("layers", step=facts.step, norms=told)


def layer_of(parameter: str) -> str:
    """Return the layer a parameter belongs to: "layers.0", "embed", "head", "norm", or "other"."""
    block = _BLOCK.search(parameter)
    if block is not None:
        return f"layers.{block[1]}"
    return next((layer for word, layer in _OUTSIDE if word in parameter), "other")
