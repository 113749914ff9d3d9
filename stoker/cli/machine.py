"""How busy the machine is, in one line: for `stoker status` and the screen of `stoker run watch`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.cli import units


def gpu_line(now: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """Return "NVIDIA H200: 87 %, 31.2 GB of 150.8 GB, 512 W, 61 °C" for each card; None before the first reading."""
    if not facts:
        return None
    if not facts["gpus"]:
        return f"none ({facts['reason']})"
    lines = []
    for index, card in enumerate(facts["gpus"]):
        values = {name: now.get(f"gpu{index}.{name}") for name in ("utilisation", "memory", "power", "temperature")}
        parts = [
            f"{values['utilisation']:.0f} %" if values["utilisation"] is not None else None,
            f"{units.size(values['memory'])} of {units.size(card['memory'])}" if values["memory"] is not None else None,
            f"{values['power']:.0f} W" if values["power"] is not None else None,
            f"{values['temperature']:.0f} °C" if values["temperature"] is not None else None,
        ]
        lines.append(f"{card['name']}: {', '.join(part for part in parts if part) or 'no answer'}")
    return "; ".join(lines)


def host_line(now: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """Return "CPU 43 % of 8 cores, memory 5.1 GB of 16.0 GB, worker 1.2 GB"; None when nothing was read lately."""
    if now.get("time") is None or not facts:
        return None
    worker = now.get("worker.memory")
    parts = [
        f"CPU {now['cpu']:.0f} % of {facts['cores']} cores" if now.get("cpu") is not None else None,
        f"memory {units.size(now['ram'])} of {units.size(facts['ram_total'])}" if now.get("ram") is not None else None,
        f"worker {units.size(worker)}" if worker is not None else None,
    ]
    return ", ".join(part for part in parts if part)
