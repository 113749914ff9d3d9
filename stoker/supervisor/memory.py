"""How full the memory is that a worker lives in: of the machine, of the control group around it, and of each GPU.

The tightest limit counts. What the kernel would give back at once (clean file pages) is not in use. A machine without
NVML has no GPU here; that is told nowhere, since it is no fault.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Bytes in use of a limit. `own`: the worker's part; None where the driver does not say."""

    name: str
    used: int
    limit: int
    own: int | None = None

    @property
    def share(self) -> float:
        return self.used / self.limit


def host_memory(cgroups: Path = CGROUPS, proc: Path = PROC) -> Memory:
    """Return the fullest of the machine's memory and the control groups that this process is in."""
    machine = psutil.virtual_memory()
    found = [Memory("the machine's memory", machine.total - machine.available, machine.total)]
    for folder in _groups(cgroups, proc):
        group = _group_memory(folder)
        if group is not None and group.limit < machine.total:
            found.append(group)
    return max(found, key=lambda memory: memory.share)


def gpu_memories(pid: int | None) -> list[Memory]:
    """Return each GPU's memory with the part of process `pid`; [] without a driver."""
    nvml = _nvml()
    if nvml is None:
        return []
    found = []
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            facts = nvml.nvmlDeviceGetMemoryInfo(handle)
            processes = {each.pid: each.usedGpuMemory for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
            found.append(Memory(f"GPU {index}", int(facts.used), int(facts.total), processes.get(pid)))
    except nvml.NVMLError:
        return []  # a card that fell off its bus is no reason to stop anything here
    return found


def num_memory_kills(cgroups: Path = CGROUPS, proc: Path = PROC) -> int:
    """Return how many processes the kernel has ended for want of memory so far, as far as it is told here."""
    counters = [proc / "vmstat"]
    for folder in _groups(cgroups, proc):
        counters += [folder / "memory.events", folder / "memory.oom_control"]
    return sum(_fields(path).get("oom_kill", 0) for path in counters)


def _groups(cgroups: Path, proc: Path) -> Iterator[Path]:
    """Yield the folders of this process's memory groups, innermost first, for both versions of the kernel's interface."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        inner = root / path.lstrip("/")
        while inner != root:
            if inner.is_dir():
                yield inner
            inner = inner.parent
        yield root


def _group_memory(folder: Path) -> Memory | None:
    limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
    if not limit or not used:
        return None
    facts = _fields(folder / "memory.stat")
    prefix = "total_" if "total_inactive_file" in facts else ""
    given_back = facts.get(f"{prefix}inactive_file", 0) + facts.get(f"{prefix}active_file", 0)
    return Memory("the memory of its control group", max(used - given_back, 0), limit)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _fields(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


@functools.cache
def _nvml() -> Any:
    """Return NVML, started once; None where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
