"""The states of every random generator a step may draw from, taken and put back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def take_device_states() -> dict[str, Tensor]:
    """Return torch's generator states, one per device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def take_host_states() -> dict[str, Any]:
    """Return Python's and numpy's generator states as JSON values."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, np.asarray(keys).tolist(), place, has_gauss, cached],
    }


def put_back(devices: dict[str, Tensor], host: dict[str, Any]) -> None:
    """Set the generators to these states; KeyError, TypeError or ValueError when they are not states."""
    version, words, gauss = host["python"]
    name, keys, place, has_gauss, cached = host["numpy"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state((name, np.array(keys, dtype=np.uint32), place, has_gauss, cached))
    torch.set_rng_state(devices["cpu"])
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            if f"cuda{i}" in devices:
                torch.cuda.set_rng_state(devices[f"cuda{i}"], i)


def seed_all(seed: int) -> None:
    """Start every generator from `seed`."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave every generator as it was, whatever is drawn meanwhile."""
    devices, python, arrays = take_device_states(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        torch.set_rng_state(devices["cpu"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state for name, state in devices.items() if name != "cpu"])
