"""What a file's rows do to a model's loss on other items: a few steps on them, or where their gradients point.

*loss*: plain gradient steps on drawn rows, the target's NLL before and after, the weights put back. One rate serves all
files: with it the first step lowers a file's own loss by 0.05 nats on average, so it fits any model. *gradient*: the
dot product of each row's gradient with that of the target (TracIn: Pruthi et al., NeurIPS 2020, at one checkpoint).
Only the model in memory moves. Sealed rows of a file never judge that file: its mistakes are theirs too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stoker.data.rows import Row
from stoker.errors import NonFinite
from stoker.evaluate.progress import Beat
from stoker.model.batches import collate
from stoker.model.encoded import Encoded
from stoker.model.likelihood import mean_nll_that_fits, token_counts
from stoker.model.load import Loaded, pad_token_id
from stoker.model.logits import evaluating
from stoker.model.loss import Loss, choose_loss
from stoker.model.tokenizing import encode_rows

NUM_STEPS = 4
FIRST_DROP = 0.05  # nats
MOST_PARAMETERS = 50_000_000
LAST_LAYERS = 4
_MOST_NORM = 10.0
_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Example:
    """A row or item in tokens; `origins` are the datasets whose sealed rows hold it."""

    id: str
    row: Row
    sequences: tuple[Encoded, ...]
    origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RowEffect:
    """One row: minus the dot product of its gradient with the target's (above zero it hurts), how long its gradient is,
    and the cosine of the two."""

    row: Row
    effect: float
    length: float
    cosine: float


def encode(rows: Sequence[Row], loaded: Loaded, max_length: int) -> list[Example]:
    """Return the rows that the model can be given, in order."""
    refused: dict[str, str] = {}
    found = []
    for row, sequences in zip(rows, encode_rows(rows, loaded.tokenizer, refused), strict=True):
        fits = all(len(sequence) <= max_length for sequence in sequences)
        if row.id not in refused and fits and any(sequence.trained.any() for sequence in sequences):
            found.append(Example(row.id, row, tuple(sequences)))
    return found


class Probe:
    """A model whose chosen weights may be moved for a while; `restore` puts them back."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.scope, self._parameters = choose_parameters(loaded.model)
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self._saved = [parameter.detach().clone() for parameter in self._parameters]
        self._loss: Loss | None = None

    def nlls(self, examples: Sequence[Example]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the mean NLL of each example, over its trained tokens."""
        sequences = [sequence for example in examples for sequence in example.sequences]
        counts = token_counts(sequences)
        values = np.where(
            counts > 0, mean_nll_that_fits(self.loaded, sequences, _BATCH_TOKENS, lambda done, total: None), 0.0
        )
        owner = np.repeat(np.arange(len(examples)), [len(example.sequences) for example in examples])
        totals, weights = np.bincount(owner, weights=values * counts), np.bincount(owner, weights=counts)
        found = np.asarray(totals / weights, dtype=np.float64)
        if not np.isfinite(found).all():
            raise NonFinite(
                "the loss on the target is not finite after a few steps: the weights or numerics are broken"
            )
        return found

    def gradient(self, examples: Sequence[Example]) -> list[Tensor]:
        """Return the gradient of the examples' mean NLL per trained token, as training has it."""
        sequences = [sequence for example in examples for sequence in example.sequences if sequence.trained.any()]
        num_tokens = int(token_counts(sequences).sum())
        for parameter in self._parameters:
            parameter.grad = None
        with evaluating(self.loaded.model):
            for part in _parts(sequences):
                self._part_loss(part, num_tokens).backward()  # type: ignore[no-untyped-call]
        return [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach().clone()
            for parameter in self._parameters
        ]

    def even_gradient(self, examples: Sequence[Example]) -> list[Tensor]:
        """Return the mean of the examples' gradients, none longer than the middle one: a few must not speak for all."""
        lengths = [norm(self.gradient([example])) for example in examples]
        middle = float(np.median(lengths))
        total = [torch.zeros_like(parameter) for parameter in self._parameters]
        for example, length in zip(examples, lengths, strict=True):
            share = min(1.0, middle / length) / len(examples) if length > 0 else 0.0
            for whole, part in zip(total, self.gradient([example]), strict=True):
                whole.add_(part, alpha=share)
        return total

    def step(self, examples: Sequence[Example], rate: float) -> None:
        """Move the weights against the gradient; a gradient of a norm above 10 is scaled down to it."""
        gradient = self.gradient(examples)
        size = rate * min(1.0, _MOST_NORM / max(norm(gradient), 1e-12))
        with torch.no_grad():
            for parameter, slope in zip(self._parameters, gradient, strict=True):
                parameter.add_(slope, alpha=-size)

    def restore(self) -> None:
        """Put the weights back, bit for bit."""
        with torch.no_grad():
            for parameter, saved in zip(self._parameters, self._saved, strict=True):
                parameter.copy_(saved)
                parameter.grad = None

    def _part_loss(self, sequences: Sequence[Encoded], num_tokens: int) -> Tensor:
        device = self.loaded.hardware.device
        batch = collate(sequences, pad_token_id(self.loaded.tokenizer), packing=False, device=device)
        if self._loss is None:
            self._loss = choose_loss(self.loaded.model, batch, self.loaded.hardware)
        return self._loss(self.loaded.model, batch, num_tokens)


def choose_parameters(model: Any) -> tuple[str, list[nn.Parameter]]:
    """Return what is moved, in words and as parameters: an adapter, all of a small model, the last layers of a large one."""
    named = dict(model.named_parameters())
    adapter = [parameter for name, parameter in named.items() if "lora_" in name]
    if adapter:
        return "adapter", adapter
    everything = list(named.values())
    layers = getattr(model.get_decoder(), "layers", None)
    if (
        sum(parameter.numel() for parameter in everything) <= MOST_PARAMETERS
        or layers is None
        or len(layers) <= LAST_LAYERS
    ):
        return "all weights", everything
    last = [parameter for layer in list(layers)[-LAST_LAYERS:] for parameter in layer.parameters()]
    return f"the last {LAST_LAYERS} of {len(layers)} layers", last


def common_rate(probe: Probe, files: Sequence[Sequence[Example]], beat: Beat) -> float:
    """Return the rate with which one step on a file lowers that file's own loss by 0.05 nats on average, to first order."""
    squares = []
    for examples in files:
        squares.append(min(norm(probe.gradient(examples)), _MOST_NORM) ** 2)
        beat(1)
    mean = float(np.mean(squares))
    return FIRST_DROP / mean if mean > 0 else 0.0


def loss_changes(
    probe: Probe, draws: Sequence[Sequence[Example]], rate: float, targets: Sequence[Example],
    before: np.ndarray[Any, np.dtype[np.float64]], beat: Beat,
) -> list[np.ndarray[Any, np.dtype[np.float64]]]:  # fmt: skip
    """Return, for each draw of rows, each target's change of NLL after a few steps on them."""
    found = []
    for examples in draws:
        try:
            for part in np.array_split(np.arange(len(examples)), min(NUM_STEPS, len(examples))):
                probe.step([examples[int(place)] for place in part], rate)
                beat(1)
            found.append(probe.nlls(targets) - before)
        finally:
            probe.restore()
    return found


def row_effects(probe: Probe, examples: Sequence[Example], target: Sequence[Tensor], beat: Beat) -> Iterator[RowEffect]:
    """Yield each row's effect on the target whose gradient is given."""
    target_norm = norm(target)
    for example in examples:
        gradient = probe.gradient([example])
        product = dot(gradient, target)
        length = norm(gradient)
        if not math.isfinite(product):
            raise NonFinite(
                f"the gradient of line {example.row.line} is not finite: the weights or numerics are broken"
            )
        cosine = product / (length * target_norm) if length * target_norm > 0 else 0.0
        yield RowEffect(example.row, -product, length, cosine)
        beat(1)


def clipped(rows: Sequence[RowEffect], most: float) -> list[RowEffect]:
    """Return the rows with gradients no longer than `most`, as training clips: a few long ones would drown the rest."""
    return [replace(row, effect=row.effect * min(1.0, most / row.length) if row.length > 0 else 0.0) for row in rows]


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Return the dot product of two gradients."""
    return float(torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum())


def norm(gradient: Sequence[Tensor]) -> float:
    """Return the length of a gradient."""
    return float(torch.stack([part.square().sum() for part in gradient]).sum().sqrt())


def draw(examples: Sequence[Example], num: int, rng: np.random.Generator) -> list[Example]:
    """Return so many of them at random, or all."""
    return [examples[int(place)] for place in rng.permutation(len(examples))[:num]]


def without(targets: Sequence[Example], dataset: str) -> list[Example]:
    """Return the targets but for the sealed rows of this very dataset."""
    return [example for example in targets if dataset not in example.origins]


def _parts(sequences: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    """Cut into parts of similar lengths and some thousand positions, so that memory does not grow with the rows."""
    part: list[Encoded] = []
    for sequence in sorted(sequences, key=len, reverse=True):
        if part and (len(part) + 1) * len(part[0]) > _BATCH_TOKENS:
            yield part
            part = []
        part.append(sequence)
    if part:
        yield part
