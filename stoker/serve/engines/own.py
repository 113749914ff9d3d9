"""Stoker's own engine: `python -m stoker.engine` with a version, the base, a folder or an adapter."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import httpx2

from stoker.durable import write_json
from stoker.errors import SettingError
from stoker.launchers import local
from stoker.locks import process_started_at
from stoker.serve.engines.base import EngineFailed, EngineRequest, Part, Target
from stoker.serve.engines.logs import last_lines
from stoker.serve.engines.speaking import connect, speak
from stoker.serve.prompts import Prompts, prompts_of
from stoker.spec.engines import ENGINE_CARD, ENGINE_JOB, EngineCard, EngineJob
from stoker.spec.lab import TrainSpec
from stoker.spec.serving import ServeSpec

_LOG = "engine.log"


class OwnEngine:
    """One engine process; its folder holds its job, its card and its log."""

    accepts: frozenset[str] = frozenset()

    def __init__(
        self,
        target: Target,
        folder: Path,
        spec: ServeSpec,
        train: TrainSpec,
        *,
        device: Literal["auto", "cpu"] = "auto",
        nice: int = 0,
    ) -> None:
        self._target, self._folder, self._spec, self._train = target, folder, spec, train
        self._device, self._nice = device, nice
        self._secret = secrets.token_urlsafe(24)
        self._process: local.Process | None = None
        self._client: httpx2.AsyncClient | None = None
        self.prompts: Prompts | None = None
        self.context_tokens: int | None = None

    def start(self) -> None:
        if self._target.ref is None:
            raise SettingError(
                f"serve.models names {self._target.name}",
                "Stoker's own engine loads model folders, not a model in one file",
                'name a folder, or set serve.engine = "outside"',
            )
        self._folder.mkdir(parents=True, mode=0o700)
        job = EngineJob(
            name=self._target.label,
            model=self._target.ref,
            train=self._train,
            device=self._device,
            memory_share=self._spec.memory_share,
            max_concurrent=self._spec.max_concurrent,
            secret=self._secret,
            parent=os.getpid(),
            parent_started_at=process_started_at(os.getpid()) or 0.0,
        )
        write_json(self._folder / ENGINE_JOB, job.model_dump(mode="json"))
        threads = self._train.threads
        self._process = local.start(
            "stoker.engine",
            self._folder,
            log=self._folder / _LOG,
            threads=threads if isinstance(threads, int) else None,
        )

    async def is_ready(self) -> bool:
        if not self.is_alive:
            raise EngineFailed(
                f"the engine of {self._target.label} ended at its start:\n{last_lines(self._folder / _LOG)}"
            )
        path = self._folder / ENGINE_CARD
        if not path.is_file():
            return False
        card = EngineCard.model_validate_json(path.read_bytes())
        self.prompts = prompts_of(card.tokenizer)
        if self.prompts is None:
            raise EngineFailed(f"{card.tokenizer} has no tokenizer.json, with which prompts are made")
        self.context_tokens = card.context_tokens
        self._client = connect(card.port, self._secret)
        if self._nice and self._process is not None:
            local.lower_priority(self._process.pid, self._nice)  # not sooner: its start is short and waited for
        return True

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def process(self) -> local.Process | None:
        return self._process

    async def answer(self, request: EngineRequest) -> AsyncIterator[Part]:
        assert self._client is not None, "asked before it was ready"
        extra = {} if request.is_streamed else {"whole": True}
        wish = request if not extra else EngineRequest(**{**vars(request), "extra": extra})
        async for part in speak(self._client, self._target.label, wish):
            yield part

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        if self._process is not None:
            await asyncio.to_thread(local.stop, self._process)
        shutil.rmtree(self._folder, ignore_errors=True)
