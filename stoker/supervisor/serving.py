"""The gateway beside the lab, when `serve.with_lab` says so: started, watched, started again after a wait that doubles.

It is a process of its own and shares nothing with the supervisor: whatever becomes of it, the lab goes on. A supervisor that
starts finds the gateway of the last one and keeps it; one that ends, ends it.
"""

from __future__ import annotations

import logging
import time

from stoker.launchers import local
from stoker.supervisor.context import Context

log = logging.getLogger(__name__)

MODULE = "stoker.serve"
WITH_LAB = "--with-lab"
_LOG = "gateway.log"
_LOG_BYTES = 4 << 20
_LONGEST_WAIT = 60.0
_STEADY_SECONDS = 60.0
_END_SECONDS = 20.0


class Serving:
    """The lab's gateway, alive or not."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._process: local.Process | None = None
        self._settings = context.spec
        self._num_deaths = 0
        self._started_at = self._not_before = 0.0
        self._is_looked_for = False

    @property
    def process(self) -> local.Process | None:
        return self._process

    def tick(self) -> None:
        """Start, watch or end the gateway, as the settings say now."""
        spec = self._context.spec
        if not spec.serve.with_lab:
            self.end()
            return
        self._find_once()
        if self._process is not None and not self._process.is_alive():
            self._met_death(self._process)
        if self._process is not None and (spec.serve, spec.model) != (self._settings.serve, self._settings.model):
            log.info("the settings of serving changed: the gateway is started anew")
            self.end()
        if self._process is None and time.monotonic() >= self._not_before:
            self._start()

    def end(self) -> None:
        """End the gateway and wait for it."""
        if self._process is not None:
            local.stop(self._process, _END_SECONDS)
            self._process = None

    def _start(self) -> None:
        folder = self._context.workspace.serving
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / _LOG
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        self._settings, self._started_at = self._context.spec, time.monotonic()
        self._process = local.start(MODULE, self._context.workspace.root, WITH_LAB, log=path)

    def _find_once(self) -> None:
        """Take over the gateway that an earlier supervisor started: requests under way go on."""
        if self._is_looked_for:
            return
        self._is_looked_for = True
        for process in local.find(MODULE, self._context.workspace.root):
            if self._process is None:
                self._process, self._started_at = process, time.monotonic()

    def _met_death(self, process: local.Process) -> None:
        is_steady = time.monotonic() - self._started_at >= _STEADY_SECONDS
        self._num_deaths = 1 if is_steady else self._num_deaths + 1
        wait = min(_LONGEST_WAIT, 2.0 ** (self._num_deaths - 1))
        self._process, self._not_before = None, time.monotonic() + wait
        text = f"the gateway ended (status {process.exit_status()}); it is started again in {wait:g} s"
        log.warning(text)
        with self._context.store.transaction() as transaction:
            transaction.event("warn", "serving.ended", text)
