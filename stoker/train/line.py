"""The live end of a model line: what a warm process just trained, ready to be trained on.

The next run of the line then loads nothing. What is kept is bit for bit what loading the published version would give
(the weights and moments that were saved), and it is taken only by the hash of the parent's weights.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from stoker.model.device import Hardware
from stoker.model.load import Loaded
from stoker.model.loss import Loss
from stoker.spec.jobs import ModelRef
from stoker.spec.lab import ModelSpec
from stoker.train.optimizer import Moments

_MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class LineKey:
    """What two runs must share for the second to go on with the first one's model object."""

    base_sha256: str
    model: ModelSpec
    hardware: Hardware


@dataclass
class LiveLine:
    key: LineKey
    weights_sha256: str
    loaded: Loaded
    moments: Moments
    loss: Loss


_live: LiveLine | None = None


def take_live(parent: ModelRef | None, key: LineKey) -> LiveLine | None:
    """Hand out the live line if it ends in `parent`; either way nothing is kept afterwards."""
    global _live
    line, _live = _live, None
    if line is None or parent is None or parent.weights_sha256 != line.weights_sha256 or line.key != key:
        return None
    return line


def keep_live(line: LiveLine) -> bool:
    """Keep a line for the next run, unless it takes too much of the memory; return whether it is kept."""
    global _live
    trained = sum(p.numel() * p.element_size() for p in line.loaded.model.parameters() if p.requires_grad)
    _live = line if trained * 4 <= _MEMORY_SHARE * _memory_bytes(line.key.hardware) else None
    return _live is not None


def forget_live() -> None:
    """Let the kept line go."""
    global _live
    _live = None


def copy_to_ask(loaded: Loaded) -> Loaded:
    """Return a copy whose trained weights are its own; frozen ones are shared."""
    shared: dict[int, Any] = {id(p): p for p in loaded.model.parameters() if not p.requires_grad}
    return dataclasses.replace(loaded, model=copy.deepcopy(loaded.model, shared))


def _memory_bytes(hardware: Hardware) -> int:
    if hardware.is_cuda:
        return int(torch.cuda.mem_get_info(hardware.device)[1])
    return int(psutil.virtual_memory().total)
