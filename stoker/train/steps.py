"""Ready batches in the plan's order: what the Trainer's loop takes instead of a sampler and a DataLoader.

One item is a whole optimizer step, already cut into the parts that fit in memory. A map from step to batch, without
randomness, so that a resume needs only the step's number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stoker.model.batches import collate
from stoker.model.encoded import EncodedSet
from stoker.train.plan import Plan, split_step


@dataclass(frozen=True, slots=True)
class StepBatch:
    """One optimizer step. `num_items` is the number of trained tokens over all parts: what the loss is divided by.

    `owners` are the sequences in the order of the parts' labels: dataset (its place in the plan), row, labels.
    """

    step: int
    parts: list[dict[str, Tensor]]
    num_items: int
    owners: list[tuple[int, str, int]]


class PlannedSteps:
    """Maps a step of the plan to its batch."""

    def __init__(
        self, plan: Plan, data: Sequence[EncodedSet], pad_id: int, device: torch.device, accumulation: int = 1
    ) -> None:
        self.plan, self._data, self._pad_id, self._device = plan, data, pad_id, device
        self._is_packed = bool(plan.facts["packing"])
        self.accumulation = accumulation

    def __len__(self) -> int:
        return self.plan.total_steps

    def __getitem__(self, step: int) -> StepBatch:
        items = self.plan.items(step)
        sequences = [self._data[dataset][sequence] for dataset, sequence in items]
        slices = split_step([len(sequence) for sequence in sequences], self.accumulation)
        parts = [collate(sequences[part], self._pad_id, self._is_packed, self._device) for part in slices]
        owners = [
            (dataset, sequence.row_id, int(np.count_nonzero(sequence.trained[1:])))
            for (dataset, _), sequence in zip(items, sequences, strict=True)
        ]
        return StepBatch(step, parts, sum(int(part["targets"].numel()) for part in parts), owners)


class StepLoader:
    """Walks the remaining steps once. `make_next` builds the next batch early, while the device still computes."""

    def __init__(self, dataset: PlannedSteps, start: int) -> None:
        self.dataset, self.start = dataset, start
        self._ready: StepBatch | None = None

    def __len__(self) -> int:
        return len(self.dataset) - self.start

    def __iter__(self) -> Iterator[StepBatch]:
        for step in range(self.start, len(self.dataset)):
            batch = self._ready if self._ready is not None and self._ready.step == step else self.dataset[step]
            self._ready = None
            yield batch

    def make_next(self, step: int) -> None:
        if step < len(self.dataset):
            self._ready = self.dataset[step]
