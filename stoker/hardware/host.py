"""How busy the machine is besides its GPUs: processors, memory, disk."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from stoker.durable import free_bytes


def read_host(folder: Path) -> dict[str, float]:
    """Return `cpu` (percent of all cores since the last call), `ram` (bytes in use), `disk_free` (bytes, at `folder`)."""
    memory = psutil.virtual_memory()
    return {
        "cpu": psutil.cpu_percent(interval=None),
        "ram": float(memory.total - memory.available),
        "disk_free": float(free_bytes(folder)),
    }


def host_facts() -> dict[str, int]:
    """Return `cores` and `ram_total` (bytes)."""
    return {"cores": os.cpu_count() or 1, "ram_total": int(psutil.virtual_memory().total)}
