"""Named tensors in safetensors files, read strictly: every expected name with its shape, finite, and nothing else.

A file says in its header which run, step and kind it belongs to, so that two files that changed places are found even
when each is whole. safetensors itself has neither a checksum nor a strict mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stoker.errors import Damaged, NonFinite

Shapes = Mapping[str, tuple[int, ...]]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write tensors of any device; NonFinite names the first that holds a NaN or an infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFinite(f"{name} holds a value that is not finite, so {path.name} is not written")
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path, metadata=dict(header))


def read_tensors(path: Path, header: Mapping[str, str], shapes: Shapes | None = None) -> dict[str, Tensor]:
    """Read a file into CPU tensors; Damaged when the header, a name, a shape or a value is not as it must be."""
    folder, file_name = path.parent, path.name
    if not path.is_file():
        raise Damaged(folder, file_name, "missing")
    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(folder, file_name, f"not readable as safetensors ({error})") from None
    for key, wanted in header.items():
        if found.get(key) != wanted:
            raise Damaged(folder, file_name, f"belongs to {key} {found.get(key)}, not {wanted}")
    if shapes is not None:
        _check_shapes(path, tensors, shapes)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Damaged(folder, file_name, f"tensor {name} holds a value that is not finite")
    return tensors


def _check_shapes(path: Path, tensors: Mapping[str, Tensor], shapes: Shapes) -> None:
    for name, shape in shapes.items():
        if name not in tensors:
            raise Damaged(path.parent, path.name, f"tensor {name} is missing")
        if tuple(tensors[name].shape) != tuple(shape):
            raise Damaged(
                path.parent, path.name, f"tensor {name} is {list(tensors[name].shape)}, the model has {list(shape)}"
            )
    extra = sorted(tensors.keys() - shapes.keys())
    if extra:
        raise Damaged(path.parent, path.name, f"tensor {extra[0]} is not part of the model")
