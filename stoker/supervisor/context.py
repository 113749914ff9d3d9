"""What every part of the supervisor works with: the lab's paths, settings, store and clock.

`wake` is set by whoever has news for the loop. Nothing here is the truth of anything: a part that needs to know asks
the store, so that a supervisor that starts knows exactly what the last one knew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from stoker.errors import SettingError
from stoker.spec.lab import LabSpec
from stoker.spec.reading import read_settings
from stoker.store.store import Store
from stoker.supervisor.awake import Awake
from stoker.workspace import Workspace

log = logging.getLogger(__name__)

MessageListener = Callable[[str, dict[str, Any]], None]


class Clock(Protocol):
    """The part of the `time` module that the supervisor reads."""

    def time(self) -> float: ...


class Context:
    """The lab as the supervisor's parts share it."""

    def __init__(
        self,
        workspace: Workspace,
        spec: LabSpec,
        store: Store,
        clock: Clock = time,
        on_message: MessageListener | None = None,
    ) -> None:
        self.workspace, self.spec, self.store = workspace, spec, store
        self.wake = threading.Event()
        self.awake = Awake()
        self.on_message = on_message
        self._clock = clock
        self._latest = self._ahead = 0.0
        self._settings_time = self._settings_changed_at()

    def now(self) -> float:
        """Return the time in seconds since the epoch. It never runs back: a clock that was set back would hold up
        whatever waits for a time."""
        now = self._clock.time() + self._ahead
        if now < self._latest:
            self._ahead += self._latest - now
        self._latest = max(now, self._latest)
        return self._latest

    def refresh_settings(self) -> None:
        """Read stoker.toml again when it changed; a mistake in it is told once and the old settings stay."""
        changed_at = self._settings_changed_at()
        if changed_at == self._settings_time:
            return
        self._settings_time = changed_at
        try:
            self.spec = read_settings(self.workspace.settings)
        except SettingError as error:
            log.warning("settings not taken: %s", error)
            with self.store.transaction() as transaction:
                transaction.event("warn", "settings.refused", f"the settings stay as they were: {error}")

    def _settings_changed_at(self) -> int | None:
        try:
            return self.workspace.settings.stat().st_mtime_ns
        except OSError:
            return None
