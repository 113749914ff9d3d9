"""The gateway's process: one for a lab, however it was started. It listens, keeps the engines, and ends them with itself.

It opens the store to read alone, writes only below `.stoker/serving` and leaves intents. With the lab's supervisor as its
parent it goes on while that is started anew, and ends when no supervisor came back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette

from stoker.durable import write_json
from stoker.errors import Busy, NotAllowed, UserError
from stoker.hardware.gpus import Gpus
from stoker.locks import FileLock, is_locked, process_started_at
from stoker.serve.access import Access
from stoker.serve.app import build
from stoker.serve.beside import Beside
from stoker.serve.engines.base import Engine, Target
from stoker.serve.engines.outside import OutsideEngine
from stoker.serve.engines.own import OwnEngine
from stoker.serve.models import Device, Models
from stoker.serve.references import References
from stoker.spec.lab import LabSpec
from stoker.workspace import Workspace

log = logging.getLogger(__name__)

CARD = "gateway.json"
LOCK = "lock"
NICE = 10
_ENGINES = "engines"
_PAUSED = "paused-run.json"
_GRACE_SECONDS = 10
_LOOK_SECONDS = 1.0
SUPERVISOR_SECONDS = 60.0


def run(workspace: Workspace, spec: LabSpec, *, is_with_lab: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C. NotAllowed when the lab is served already, UserError when the port is taken."""
    workspace.serving.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(workspace.serving / LOCK)
    try:
        lock.acquire()
    except Busy as busy:
        raise NotAllowed(f"this lab is served already ({busy})", "one gateway a lab", "end that one first") from None
    try:
        with contextlib.closing(_listen(spec.serve.host, spec.serve.port)) as listening:
            Gateway(workspace, spec, is_with_lab=is_with_lab).serve(listening)
    finally:
        lock.release()


class Gateway:
    """What runs between the first request and the last."""

    def __init__(self, workspace: Workspace, spec: LabSpec, *, is_with_lab: bool) -> None:
        self._workspace, self._spec, self._is_with_lab = workspace, spec, is_with_lab
        self._references = References(workspace, spec.model)
        self._engines = workspace.serving / _ENGINES
        self._has_gpu = bool(Gpus().read())

    def serve(self, listening: socket.socket) -> None:
        """Serve on a bound socket."""
        shutil.rmtree(self._engines, ignore_errors=True)
        self._engines.mkdir(mode=0o700)
        host, port = listening.getsockname()[:2]
        is_loopback = ipaddress.ip_address(host).is_loopback
        serve = self._spec.serve
        access = Access(self._workspace.serving, serve, is_loopback=is_loopback)
        self._beside = Beside(
            serve,
            self._workspace.intents,
            self._workspace.serving / _PAUSED,
            lambda: self._references.reader().status(),
        )
        self._models = Models(serve, serve.models, self._references.target, self._engine, self._beside)
        app = build(self._models, access, serve, is_loopback=is_loopback, lifespan=self._lifespan)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS, server_header=False
        )
        self._server = uvicorn.Server(config)
        card = {"pid": os.getpid(), "started_at": process_started_at(os.getpid()), "host": host, "port": port}
        write_json(self._workspace.serving / CARD, card)
        log.info("serving %s on http://%s:%d", ", ".join(serve.models), host, port)
        try:
            self._server.run(sockets=[listening])
        except KeyboardInterrupt:  # uvicorn raises the signal again once it has ended in good order
            pass
        finally:
            (self._workspace.serving / CARD).unlink(missing_ok=True)
            access.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self._beside.look()
        tasks = [asyncio.create_task(self._models.watch()), asyncio.create_task(self._beside.watch())]
        if self._is_with_lab:
            tasks.append(asyncio.create_task(self._end_with_lab()))
        for task in tasks:
            task.add_done_callback(self._end_on_failure)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._models.end()

    def _end_on_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("the gateway ends", exc_info=task.exception())
            self._server.should_exit = True

    async def _end_with_lab(self) -> None:
        """End once no supervisor has held the lab for a while: one that was killed is usually started again."""
        seen = time.monotonic()
        while time.monotonic() - seen < SUPERVISOR_SECONDS:
            if is_locked(self._workspace.lock):
                seen = time.monotonic()
            await asyncio.sleep(_LOOK_SECONDS)
        log.warning("no supervisor holds the lab any more: serving ends")
        self._server.should_exit = True

    def _engine(self, target: Target, device: Device) -> Engine:
        folder = self._engines / uuid.uuid4().hex[:12]
        serve = self._spec.serve
        is_on_cpu = device == "cpu" or serve.beside_training == "cpu" or not self._has_gpu
        nice = NICE if serve.beside_training in ("share", "cpu") and is_on_cpu else 0
        if serve.engine == "outside":
            return OutsideEngine(target, folder, serve, nice=nice)
        return OwnEngine(target, folder, serve, self._spec.train, device=device, nice=nice)


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(found[4][:2], family=found[0], backlog=512)
    except OSError as error:
        raise UserError(
            f"{host}:{port} can't be listened on: {error.strerror or error}",
            "another program may have the port, or the address is not this machine's",
            "choose another: stoker serve --port PORT, or set serve.port and serve.host",
        ) from None
    # asyncio sets this for sockets it makes itself alone; without it each further piece of an answer waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
