"""What each GPU does, through NVML: no torch, no process of its own.

A machine without a driver is normal: `read` then returns no GPU and `reason` says why. A value that a card does not tell
is None. NVML may block for long (a card that falls off the bus); who must not wait calls `read` in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GpuReading:
    """One card now: utilisation in percent, memory in bytes, power in watts, temperature in degrees Celsius, energy in joules
    since the driver was loaded."""

    index: int
    name: str
    memory_total: int | None
    utilisation: float | None
    memory: float | None
    power: float | None
    temperature: float | None
    energy: float | None


class Gpus:
    """The cards that NVML knows. `nvml` is the module pynvml, or one shaped like it."""

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml
        self._is_open = False
        self.reason: str | None = None

    def read(self) -> list[GpuReading]:
        """Return every card; none and a `reason` when there is no card, or no answer from it."""
        try:
            return self._read_all()
        except Exception as error:  # noqa: BLE001 - a driver's library: whatever it raises, there is no reading
            self.reason = str(error) or type(error).__name__
            self._close()
            return []

    def _read_all(self) -> list[GpuReading]:
        nvml = self._open()
        found = [self._one(index) for index in range(nvml.nvmlDeviceGetCount())]
        self.reason = None if found else "the driver knows no card"
        return found

    def _open(self) -> Any:
        if self._nvml is None:
            import pynvml

            self._nvml = pynvml
        if not self._is_open:
            self._nvml.nvmlInit()
            self._is_open = True
        return self._nvml

    def _close(self) -> None:
        """Let the next reading begin anew: a library whose card was lost answers nothing more."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return

    def _one(self, index: int) -> GpuReading:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(handle)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return GpuReading(
            index=index,
            name=name.decode() if isinstance(name, bytes) else name,
            memory_total=memory.total,
            memory=float(memory.used),
            utilisation=self._told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            power=self._told(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            temperature=self._told(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            energy=self._told(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000),
        )

    def _told(self, ask: Callable[[], float]) -> float | None:
        """Return one value, None where this card does not tell it."""
        try:
            return float(ask())
        except (self._nvml.NVMLError_NotSupported, self._nvml.NVMLError_NoPermission):
            return None


def gpu_of(device: str | None) -> int | None:
    """Return NVML's index of the card that torch calls `device` ("cuda", "cuda:1"); None: no card, or not known which.

    CUDA_VISIBLE_DEVICES renumbers cards for torch and not for NVML.
    """
    if device is None or not device.startswith("cuda"):
        return None
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return index
    named = visible.split(",")
    return int(named[index]) if index < len(named) and named[index].strip().isdigit() else None
