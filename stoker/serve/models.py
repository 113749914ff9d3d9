"""The models that are served, by name: each has an engine, and is exchanged for another while requests go on.

When a name comes to mean another model, the new engine is started first. Once it is ready, new requests go to it, the old
one answers what it has and ends then: no request notices. An engine that dies is started again after a wait that doubles;
a request that had no token of its answer yet is asked again of the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stoker.errors import StokerError
from stoker.serve.beside import Beside
from stoker.serve.engines.base import Engine, EngineFailed, Target
from stoker.serve.errors import ApiError
from stoker.spec.serving import ServeSpec

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_READY_SECONDS = 0.05
_LONGEST_WAIT = 60.0
Device = Literal["auto", "cpu"]
Key = tuple[str, Device]


@dataclass(eq=False)
class Running:
    """An engine at work."""

    key: Key
    target: Target
    engine: Engine
    places: asyncio.Semaphore
    num_requests: int = 0


@dataclass
class Served:
    """A name and what answers to it now. `problem`: why nothing does."""

    name: str
    target: Target | None = None
    running: Running | None = None
    problem: str | None = "its engine is being started"
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, running: Running) -> None:
        self.running, self.problem = running, None
        self.arrived.set()

    def take(self, problem: str) -> None:
        self.running, self.problem = None, problem
        self.arrived.clear()


@dataclass
class _Failures:
    count: int = 0
    not_before: float = 0.0


class Models:
    """All engines of a gateway. `resolve` may block; `make` builds an engine that is not started yet."""

    def __init__(
        self,
        spec: ServeSpec,
        names: Sequence[str],
        resolve: Callable[[str], Target],
        make: Callable[[Target, Device], Engine],
        beside: Beside,
    ) -> None:
        self._spec, self._resolve, self._make, self._beside = spec, resolve, make, beside
        self.served = {name: Served(name) for name in names}
        self._running: dict[Key, Running] = {}
        self._starting: dict[Key, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._failures: dict[Key, _Failures] = {}
        self._num_waiting = 0

    @property
    def is_ready(self) -> bool:
        """Tell whether every name has an engine that answers."""
        return all(one.running is not None for one in self.served.values())

    def find(self, name: str) -> Served:
        """Return what is served under a name, or under the label of what a name means; ApiError 404 otherwise."""
        found = self.served.get(name)
        if found is None:
            labels = (one for one in self.served.values() if one.target is not None and one.target.label == name)
            found = next(labels, None)
        if found is None:
            names = ", ".join(self.served)
            raise ApiError(
                404, f"the model {name!r} is not served here; there are: {names}", code="model_not_found", param="model"
            )
        return found

    @contextlib.asynccontextmanager
    async def place(self, served: Served) -> AsyncIterator[Running]:
        """Hold a place at the model's engine; ApiError when too many wait (429) or there is none in time (503)."""
        if self._num_waiting >= self._spec.max_waiting and not self._has_room(served):
            raise ApiError(
                429, f"{self._num_waiting} requests wait already", type="requests", code="rate_limit_exceeded",
                headers={"retry-after": "2"},
            )  # fmt: skip
        self._num_waiting += 1
        is_waiting, running, has_place, is_inside = True, None, False, False
        try:
            await self._beside.enter()
            is_inside = True
            running = await self._engine_of(served)
            running.num_requests += 1
            await running.places.acquire()
            has_place = True
            self._num_waiting -= 1
            is_waiting = False
            yield running
        finally:
            if is_waiting:
                self._num_waiting -= 1
            if running is not None:
                running.num_requests -= 1
                if has_place:
                    running.places.release()
            if is_inside:
                self._beside.leave()

    async def watch(self) -> None:
        """Keep the engines as the names ask, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """See once what the names mean, which engines died, and which are not needed any more."""
        self._bury()
        wanted: set[Key] = set()
        for served in self.served.values():
            try:
                served.target = await asyncio.to_thread(self._resolve, served.name)
            except Exception as error:  # noqa: BLE001 - nothing there yet, or a store being mended: what runs goes on
                if served.running is None:
                    served.take(str(error))
                else:
                    wanted.add(served.running.key)
                continue
            if self._beside.is_yielding:
                served.take("the lab trains, and requests wait for it")
                continue
            key = (served.target.key, self._beside.device)
            wanted.add(key)
            self._aim(served, served.target, key)
            if served.running is not None:
                wanted.add(served.running.key)
        for key in [key for key in self._running if key not in wanted]:
            self._retire(self._running.pop(key))

    async def end(self) -> None:
        """End every engine."""
        for task in self._starting.values():
            task.cancel()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        for running in self._running.values():
            running.num_requests = 0
            self._retire(running)
        self._running.clear()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def _has_room(self, served: Served) -> bool:
        return served.running is not None and not served.running.places.locked() and not self._beside.is_yielding

    async def _engine_of(self, served: Served) -> Running:
        try:
            async with asyncio.timeout(self._spec.start_seconds):
                while served.running is None:
                    if served.target is None:
                        raise self._unavailable(served)
                    await served.arrived.wait()
        except TimeoutError:
            raise self._unavailable(served) from None
        return served.running

    def _unavailable(self, served: Served) -> ApiError:
        return ApiError(
            503, f"{served.name} is not ready: {served.problem}", type="server_error", code="model_not_ready",
            headers={"retry-after": "5"},
        )  # fmt: skip

    def _aim(self, served: Served, target: Target, key: Key) -> None:
        running = self._running.get(key)
        if running is not None:
            if served.running is not running:
                log.info("%s is %s from now on", served.name, target.label)
                served.give(running)
            return
        if key not in self._starting and time.monotonic() >= self._failures.setdefault(key, _Failures()).not_before:
            self._starting[key] = asyncio.create_task(self._start(target, key))

    async def _start(self, target: Target, key: Key) -> None:
        engine = self._make(target, key[1])
        try:
            engine.start()
            async with asyncio.timeout(self._spec.start_seconds):
                while not await engine.is_ready():
                    await asyncio.sleep(_READY_SECONDS)
        except (StokerError, EngineFailed, TimeoutError, OSError, ValueError) as error:
            reason = str(error) or f"it was not ready after {self._spec.start_seconds:g} s (serve.start_seconds)"
            await engine.stop()
            self._failed(key, target, reason)
        except BaseException:
            await engine.stop()
            raise
        else:
            running = Running(key, target, engine, asyncio.Semaphore(self._spec.max_concurrent))
            self._running[key] = running
            for served in self.served.values():
                if served.target is not None and (served.target.key, self._beside.device) == key:
                    self._aim(served, served.target, key)
        finally:
            self._starting.pop(key, None)

    def _bury(self) -> None:
        """Forget the engines that died."""
        for running in [one for one in self._running.values() if not one.engine.is_alive]:
            del self._running[running.key]
            for served in self.served.values():
                if served.running is running:
                    served.take("its engine died and is started again")
            self._failed(running.key, running.target, "it died")
            self._retire(running)

    def _failed(self, key: Key, target: Target, reason: str) -> None:
        failures = self._failures.setdefault(key, _Failures())
        failures.count += 1
        wait = min(_LONGEST_WAIT, 2.0 ** (failures.count - 1)) if reason != "it died" or failures.count > 1 else 0.0
        failures.not_before = time.monotonic() + wait
        log.error("the engine of %s: %s; it is started again in %g s", target.label, reason, wait)
        for served in self.served.values():
            if served.running is None and served.target is not None and served.target.key == key[0]:
                served.problem = reason

    def _retire(self, running: Running) -> None:
        """End an engine once it has answered what it has."""

        async def retire() -> None:
            while running.num_requests and running.engine.is_alive:
                await asyncio.sleep(_READY_SECONDS)
            await running.engine.stop()

        task = asyncio.create_task(retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
