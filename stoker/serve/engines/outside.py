"""A server of another project (vLLM, llama.cpp, ...) that speaks OpenAI's protocol, started as `serve.command` says.

It is tied to the gateway: it ends when the gateway does. Where its model's folder has a tokenizer that can be read here, it is
sent token ids, and so the prompts of training; else it is sent what the client sent and makes its own prompts.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from stoker.durable import write_json
from stoker.errors import SettingError
from stoker.launchers import local
from stoker.launchers.tether import COMMAND
from stoker.locks import process_started_at
from stoker.serve.engines.base import EngineFailed, EngineRequest, Part, Target
from stoker.serve.engines.logs import last_lines
from stoker.serve.engines.speaking import connect, speak
from stoker.serve.prompts import Prompts, prompts_of
from stoker.spec.serving import ServeSpec

_LOG = "engine.log"
_PASSED_ON = (
    "response_format", "presence_penalty", "frequency_penalty", "logit_bias", "top_k", "min_p", "repetition_penalty",
)  # fmt: skip


class OutsideEngine:
    """One outside server."""

    accepts = frozenset(_PASSED_ON)

    def __init__(self, target: Target, folder: Path, spec: ServeSpec, *, nice: int = 0) -> None:
        self._target, self._folder, self._spec, self._nice = target, folder, spec, nice
        self._process: local.Process | None = None
        self._client: httpx2.AsyncClient | None = None
        self.prompts: Prompts | None = None
        self.context_tokens: int | None = None

    def start(self) -> None:
        model = _model_path(self._target)
        port = _free_port()
        self._folder.mkdir(parents=True, mode=0o700)
        filled = {
            "model": str(model), "port": str(port), "name": self._target.label,
            "memory_share": str(self._spec.memory_share), "max_concurrent": str(self._spec.max_concurrent),
        }  # fmt: skip
        command = {
            "argv": [_filled(word, filled) for word in shlex.split(self._spec.command)],
            "nice": self._nice,
            "parent": os.getpid(),
            "parent_started_at": process_started_at(os.getpid()) or 0.0,
        }
        write_json(self._folder / COMMAND, command)
        self.prompts = prompts_of(model) if model.is_dir() else None
        self._client = connect(port)
        self._process = local.start("stoker.launchers.tether", self._folder, log=self._folder / _LOG)

    async def is_ready(self) -> bool:
        assert self._client is not None, "asked before it was started"
        if not self.is_alive:
            raise EngineFailed(
                f"the server of {self._target.label} ended at its start:\n{last_lines(self._folder / _LOG)}"
            )
        try:
            if (await self._client.get("/health", timeout=5.0)).status_code == 503:
                return False
            answer = await self._client.get("/v1/models", timeout=5.0)
            if answer.status_code != 200:
                return False
            found = answer.json()["data"][0]
        except (httpx2.TransportError, ValueError, KeyError, IndexError, TypeError):
            return False
        length = found.get("max_model_len") or (found.get("meta") or {}).get("n_ctx_train")
        self.context_tokens = int(length) if length else None
        return True

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def process(self) -> local.Process | None:
        return self._process

    async def answer(self, request: EngineRequest) -> AsyncIterator[Part]:
        assert self._client is not None, "asked before it was ready"
        async for part in speak(self._client, self._target.label, request):
            yield part

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        if self._process is not None:
            await asyncio.to_thread(local.stop, self._process, 10.0)
        shutil.rmtree(self._folder, ignore_errors=True)


def _model_path(target: Target) -> Path:
    if target.file is not None:
        return target.file
    assert target.ref is not None
    if target.ref.method != "full" and target.ref.folder is not None:
        raise SettingError(
            f"{target.label} is an adapter, and serve.engine is an outside server",
            "outside servers are given plain weights",
            f"run: stoker model merge {target.label} -o FOLDER, and name FOLDER in serve.models",
        )
    folder = target.ref.folder or target.ref.base.folder
    return folder if folder is not None else Path(target.ref.base.name)


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
