"""How requests and a run share one GPU: `serve.beside_training`.

share: both go on; the engine takes no more than its share of the memory, and without a GPU it is nice to the run.
wait: requests wait while the lab computes, and no engine holds memory meanwhile. cpu: the engine is exchanged for one on the
CPU for as long as the lab computes. pause: the run is paused while requests come and goes on a while after the last one.

The gateway writes nothing of the lab's: it leaves intents, as people do. A run that it paused is noted in a file, so that a
gateway that was killed in between lets it go on when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import orjson

from stoker.durable import write_json
from stoker.mailbox.intents import post_intent
from stoker.serve.errors import ApiError
from stoker.spec.serving import ServeSpec

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5


class Beside:
    """What the lab computes now, and what that means for requests. `status` reads the lab's; it may block."""

    def __init__(self, spec: ServeSpec, intents: Path, note: Path, status: Callable[[], dict[str, Any]]) -> None:
        self._spec, self._intents, self._note, self._status = spec, intents, note, status
        self._state: str = "off"
        self._run: str | None = None
        self._changed = asyncio.Event()
        self._paused: str | None = _noted(note)
        self._asked: str | None = None
        self._num_inside = 0
        self._last_request = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Tell whether the lab trains or evaluates."""
        return self._state in ("training", "evaluating")

    @property
    def device(self) -> Literal["auto", "cpu"]:
        return "cpu" if self._spec.beside_training == "cpu" and self.is_busy else "auto"

    @property
    def is_yielding(self) -> bool:
        """Tell whether engines are to be let go for now."""
        return self._spec.beside_training == "wait" and self.is_busy

    async def watch(self) -> None:
        """Follow the lab for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Read the lab's state once; let a paused run go on when it is time."""
        try:
            status = await asyncio.to_thread(self._status)
        except Exception as error:  # noqa: BLE001 - the store may be locked, gone or being mended; what was known holds
            log.warning("the lab's state can't be read: %s", error)
            return
        self._state, self._run = status["state"], status["run"]
        self._changed.set()
        self._changed = asyncio.Event()
        is_quiet = not self._num_inside and time.monotonic() - self._last_request >= self._spec.pause_seconds
        if self._paused is not None and is_quiet:
            self._let_go_on(self._paused)

    async def enter(self) -> None:
        """Wait until a request may be answered; call `leave` afterwards. ApiError 503 when that takes too long."""
        self._num_inside += 1
        self._last_request = time.monotonic()
        try:
            async with asyncio.timeout(self._spec.start_seconds if self._spec.beside_training == "pause" else None):
                while self._must_wait():
                    await self._changed.wait()
        except TimeoutError:
            self._num_inside -= 1
            raise ApiError(
                503, f"{self._run} trains and was not paused in time; ask again later", type="server_error",
                code="training", headers={"retry-after": "10"},
            ) from None  # fmt: skip
        except BaseException:
            self._num_inside -= 1
            raise

    def leave(self) -> None:
        self._num_inside -= 1
        self._last_request = time.monotonic()

    def _must_wait(self) -> bool:
        if self._spec.beside_training == "wait":
            return self.is_busy
        if self._spec.beside_training == "pause" and self._state == "training" and self._run is not None:
            self._pause(self._run)
            return True
        return False

    def _pause(self, run: str) -> None:
        if self._asked == run:
            return
        log.info("%s is paused while requests come", run)
        write_json(self._note, {"run": run})
        post_intent(self._intents, "run.pause", run=run)
        self._paused = self._asked = run

    def _let_go_on(self, run: str) -> None:
        log.info("no request for %g s: %s goes on", self._spec.pause_seconds, run)
        post_intent(self._intents, "run.resume", run=run)
        self._note.unlink(missing_ok=True)
        self._paused = self._asked = None


def _noted(note: Path) -> str | None:
    try:
        return str(orjson.loads(note.read_bytes())["run"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
