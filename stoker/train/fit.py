"""The memory fit: the heaviest steps forward and backward before step 1, so that no run dies in hour five.

Out of memory, activations are computed again in the backward pass ("auto"), then the step is split in two, in four,
and so on; what is trained stays the same. A warm process remembers what fitted.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch

from stoker.errors import InvalidInput
from stoker.mailbox.messages import Outbox
from stoker.model.loss import Loss
from stoker.spec.lab import TrainSpec
from stoker.train.plan import Plan
from stoker.train.progress import Memory
from stoker.train.resolve import Settings
from stoker.train.steps import PlannedSteps

logger = logging.getLogger(__name__)

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
_fitted: dict[Hashable, tuple[int, int, Memory]] = {}


def first_memory(settings: Settings) -> Memory:
    """Return how the settings ask a step to be computed."""
    return Memory(settings.accumulation, settings.train.gradient_checkpointing == "on")


def tighter(memory: Memory, spec: TrainSpec, most_rows: int, outbox: Outbox) -> Memory:
    """Return the next way to compute a step in less memory; InvalidInput when none is left."""
    if not memory.is_checkpointing and spec.gradient_checkpointing == "auto":
        found, text = Memory(memory.accumulation, True), "activations are computed again in the backward pass"
    elif memory.accumulation < most_rows:
        found = Memory(memory.accumulation * 2, memory.is_checkpointing)
        text = f"each step is split into {found.accumulation} parts"
    else:
        raise InvalidInput(
            "the longest row does not fit in memory",
            "a row is computed whole: it is never cut",
            "set train.max_length lower, model.method to lora or qlora, or take a smaller base",
        )
    outbox.event(
        "warn", "memory.tight", f"out of memory: {text}; the result is the same, only slower", **found.to_json()
    )
    return found


def at_least(memory: Memory, accumulation: int, most_rows: int) -> Memory:
    """Return `memory` with a step split into at least so many parts, and no more than it has rows."""
    return Memory(max(memory.accumulation, min(accumulation, most_rows)), memory.is_checkpointing)


def fit_memory(
    key: Hashable, model: Any, loss: Loss, steps: PlannedSteps, memory: Memory, spec: TrainSpec, outbox: Outbox
) -> Memory:
    """Compute the heaviest steps of the plan, nothing applied; return the first way that fits.

    `key` names the model and its shape; a process that fitted as much under it before does not try again.
    """
    plan = steps.plan
    size = (int(plan.padded.max()), int(longest_rows(plan).max()))
    known = _fitted.get((key, memory))
    if known is not None and size[0] <= known[0] and size[1] <= known[1]:
        apply_memory(model, steps, known[2])
        return known[2]
    wanted = memory
    while True:
        apply_memory(model, steps, memory)
        try:
            for step in _heaviest(plan):
                _compute(model, loss, steps, step)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("the memory fit failed with %s: %s", memory, error)
        else:
            _fitted[key, wanted] = (*size, memory)
            return memory
        free_memory(model)
        memory = tighter(memory, spec, int(np.diff(plan.offsets).max()), outbox)


def apply_memory(model: Any, steps: PlannedSteps, memory: Memory) -> None:
    """Make the model and the batches as `memory` says."""
    steps.accumulation = memory.accumulation
    if memory.is_checkpointing == _is_checkpointing(model):
        return
    if memory.is_checkpointing:
        switch = getattr(model, "activation_checkpointing_enable", None)
        if switch is not None:
            switch({"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        getattr(model, "activation_checkpointing_disable", model.gradient_checkpointing_disable)()


def _is_checkpointing(model: Any) -> bool:
    """Tell whether activations are computed again; transformers renamed the property in 5.20."""
    if hasattr(model, "is_activation_checkpointing"):
        return bool(model.is_activation_checkpointing)
    return bool(getattr(model, "is_gradient_checkpointing", False))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an exhausted allocator, of a GPU or of the host, from other errors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def free_memory(model: Any) -> None:
    """Let go of gradients and cached blocks."""
    model.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def longest_rows(plan: Plan) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return an upper bound of each step's longest sequence."""
    if plan.facts["packing"]:
        return plan.padded
    return np.asarray(plan.padded // np.diff(plan.offsets))


def _heaviest(plan: Plan) -> list[int]:
    """Return the step with the most positions, and the one with the longest rows when it is another."""
    widest = int(np.argmax(plan.padded * (1 + longest_rows(plan) / 1024)))
    return list(dict.fromkeys([widest, int(np.argmax(longest_rows(plan)))]))


def _compute(model: Any, loss: Loss, steps: PlannedSteps, step: int) -> None:
    batch = steps[step]
    for part in batch.parts:
        torch.autograd.backward(loss(model, part, batch.num_items))
    model.zero_grad(set_to_none=True)
