"""When a condition is told: once as it begins, not again before it was over, nor within the cooldown of its last time.

Counted in steps that were looked at, not in step numbers: these go back in a rollback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Latches:
    """One latch for each name: a kind, or a kind and a layer."""

    def __init__(self, cooldown_steps: int, state: Mapping[str, Any] | None = None) -> None:
        self._cooldown_steps = cooldown_steps
        self._told_at: dict[str, int] = dict((state or {}).get("told_at", {}))
        self._on: set[str] = set((state or {}).get("on", ()))
        self._num_seen = int((state or {}).get("num_seen", 0))

    def next_step(self) -> None:
        self._num_seen += 1

    def fires(self, name: str, is_on: bool, *, is_off: bool | None = None) -> bool:
        """Return whether to tell it now. `is_off` ends the condition; between the two nothing changes (hysteresis)."""
        if name in self._on:
            if not is_on if is_off is None else is_off:
                self._on.discard(name)
            return False
        if not is_on or self._is_cooling(name):
            return False
        self._on.add(name)
        self._told_at[name] = self._num_seen
        return True

    def fires_alone(self, name: str, is_on: bool) -> bool:
        """Return whether to tell something that lasts no longer than its step."""
        if not is_on or self._is_cooling(name):
            return False
        self._told_at[name] = self._num_seen
        return True

    def restart(self) -> None:
        """Whatever lasted is over; cooldowns stay."""
        self._on.clear()

    def to_json(self) -> dict[str, Any]:
        return {"told_at": dict(self._told_at), "on": sorted(self._on), "num_seen": self._num_seen}

    def _is_cooling(self, name: str) -> bool:
        told_at = self._told_at.get(name)
        return told_at is not None and self._num_seen - told_at < self._cooldown_steps
