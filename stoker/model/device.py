"""The machine a worker computes on: device, precision, threads, attention kernel, packing.

`resolve_hardware` turns the "auto"s of the settings into a `Hardware`, once per process. It sets the number of
torch's threads, and nothing else.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from stoker.errors import SettingError
from stoker.spec.lab import TrainSpec

_CPU_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True)
class Hardware:
    """What a worker computes with. `dtype` is the dtype of matrix products: bfloat16 or float32."""

    device: torch.device
    dtype: torch.dtype
    threads: int
    attention: str
    packing: bool

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def precision(self) -> str:
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"


def resolve_hardware(train: TrainSpec) -> Hardware:
    """Return the hardware for these settings and set torch's threads; SettingError when it can't be had."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = len(os.sched_getaffinity(0)) if train.threads == "auto" else train.threads
    if threads < 1:
        raise SettingError(f"train.threads = {threads} is below 1", "at least one thread computes", 'use "auto"')
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    dtype = _resolve_dtype(train.precision, device)
    attention = _resolve_attention(train.attention, device, dtype)
    return Hardware(
        device=device,
        dtype=dtype,
        threads=threads,
        attention=attention,
        packing=_resolve_packing(train.packing, device, attention),
    )


def autocast(hardware: Hardware) -> contextlib.AbstractContextManager[object]:
    """Return the context in which forward passes run: torch.autocast for bf16, nothing for fp32."""
    if hardware.dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(hardware.device.type, dtype=hardware.dtype)


def has_flash_attention() -> bool:
    """Say whether the flash_attn package can be used here."""
    return torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None


def _resolve_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return not _CPU_BF16_FLAGS.isdisjoint(flags.split())


def _resolve_attention(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    if attention == "auto":
        if device.type == "cpu":
            return "eager"
        return "flash_attention_2" if has_flash_attention() and dtype is torch.bfloat16 else "sdpa"
    if attention == "flash_attention_2" and not (has_flash_attention() and dtype is torch.bfloat16):
        raise SettingError(
            'train.attention = "flash_attention_2" is not possible here',
            "it needs a CUDA GPU, bf16 and the flash_attn package",
            'run: pip install flash-attn, or set train.attention = "auto"',
        )
    return attention


def _resolve_packing(packing: str, device: torch.device, attention: str) -> bool:
    if packing == "auto":
        return device.type == "cuda" and attention == "flash_attention_2"
    return packing == "on"
