"""Models a warm process keeps, so that evaluating what it just trained loads nothing.

Kept by the identity of their weights, least recently used first out: up to a quarter of the memory on a CPU, one
model on a GPU. A kept model gives the same numbers as one freshly loaded.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import psutil
import torch

from stoker.model.device import Hardware
from stoker.model.load import Loaded, load_for_inference, to_inference
from stoker.spec.jobs import ModelRef

_Key = tuple[str, Hardware]


class Resident:
    """Loaded models by weights. `limit_bytes` is for a CPU."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self._limit_bytes = limit_bytes if limit_bytes is not None else psutil.virtual_memory().total // 4
        self._kept: OrderedDict[_Key, Loaded] = OrderedDict()

    def get(self, ref: ModelRef, base_folder: Path, hardware: Hardware) -> Loaded:
        """Return the model to ask, loaded now or earlier."""
        key = (ref.weights_sha256, hardware)
        loaded = self._kept.get(key)
        if loaded is None:
            if hardware.is_cuda:
                self.clear()
            loaded = self._kept[key] = load_for_inference(ref, base_folder, hardware)
        self._kept.move_to_end(key)
        self._shrink()
        return loaded

    def put(self, loaded: Loaded, weights_sha256: str) -> None:
        """Take over a model that was just trained and saved; the caller must not train it any further.

        A 4-bit base is not kept: versions are judged on the base's full weights.
        """
        if loaded.hardware.is_cuda:
            self.clear()
        if loaded.method == "qlora":
            return
        self._kept[weights_sha256, loaded.hardware] = to_inference(loaded)
        self._shrink()

    def clear(self) -> None:
        """Let every model go."""
        self._kept.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __len__(self) -> int:
        return len(self._kept)

    def _shrink(self) -> None:
        """Drop the longest unused until the rest fits; the newest always stays."""
        while len(self._kept) > 1 and sum(map(_size_bytes, self._kept.values())) > self._limit_bytes:
            self._kept.popitem(last=False)


def _size_bytes(loaded: Loaded) -> int:
    tensors: dict[int, Any] = {tensor.data_ptr(): tensor for tensor in loaded.model.parameters()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
