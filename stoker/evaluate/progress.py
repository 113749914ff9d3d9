"""How far a measuring task has come: heartbeat and pause check between batches, a few times a second at most."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from stoker.mailbox.control import ControlInbox
from stoker.mailbox.messages import Outbox

_BEAT_SECONDS = 0.25
Beat = Callable[[int], None]

logger = logging.getLogger(__name__)


class Paused(Exception):
    """The supervisor asked for a pause; not an error."""


class Progress:
    """Counts what is done of a total, tells it, and raises Paused when asked to stop."""

    def __init__(self, folder: Path, outbox: Outbox) -> None:
        self._control, self._outbox = ControlInbox(folder), outbox
        self._done = self._total = 0
        self._told_at = 0.0

    def begin(self, total: int) -> None:
        self._total = total
        self._outbox.phase("answer", 0, total)

    def beat(self, num_done: int) -> None:
        self._done += num_done
        now = time.monotonic()
        if now - self._told_at < _BEAT_SECONDS and self._done < self._total:
            return
        self._told_at = now
        self._outbox.phase("answer", min(self._done, self._total), self._total)
        if any(request.get("kind") in ("pause", "stop") for request in self._control.read()):
            logger.info("pausing after %d of %d", self._done, self._total)
            raise Paused
