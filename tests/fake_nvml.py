"""Something shaped like pynvml, with cards that answer, refuse, fall off the bus or never answer."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any


class FakeNvml:
    """`values` of each card by name; a missing one is not supported. `error`: what every call raises."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801
        pass

    class NVMLError_NoPermission(NVMLError):  # noqa: N801
        pass

    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *cards: dict[str, Any]) -> None:
        self.cards = list(cards)
        self.error: Exception | None = None
        self.num_inits = 0
        self.gate = threading.Event()
        self.gate.set()

    def nvmlInit(self) -> None:
        self._answer()
        self.num_inits += 1

    def nvmlShutdown(self) -> None:
        self._answer()

    def nvmlDeviceGetCount(self) -> int:
        self._answer()
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.cards[index]

    def nvmlDeviceGetName(self, card: dict[str, Any]) -> bytes:
        return b"NVIDIA Test"

    def nvmlDeviceGetMemoryInfo(self, card: dict[str, Any]) -> Any:
        return SimpleNamespace(total=80 * 10**9, used=card["memory"])

    def nvmlDeviceGetUtilizationRates(self, card: dict[str, Any]) -> Any:
        return SimpleNamespace(gpu=self._value(card, "utilisation"))

    def nvmlDeviceGetPowerUsage(self, card: dict[str, Any]) -> int:
        return int(1000 * self._value(card, "power"))

    def nvmlDeviceGetTemperature(self, card: dict[str, Any], kind: int) -> Any:
        return self._value(card, "temperature")

    def nvmlDeviceGetTotalEnergyConsumption(self, card: dict[str, Any]) -> int:
        return int(1000 * self._value(card, "energy"))

    def _answer(self) -> None:
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error

    def _value(self, card: dict[str, Any], name: str) -> Any:
        if name not in card:
            raise self.NVMLError_NotSupported
        return card[name]


def card(**values: float) -> dict[str, Any]:
    return {"memory": 10**9, "utilisation": 50, "power": 300.5, "temperature": 60, "energy": 1000.0} | values
