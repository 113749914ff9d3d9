"""The seam: what the gateway knows of an engine. Every implementation passes tests/serve/test_engines.py.

An engine is a process with one model. It is started, becomes ready, answers any number of requests at once, and ends with the
gateway however the gateway ends. Its prompts are token ids made here, by the code that makes training's, wherever its model
has a tokenizer that can be read; else the engine makes them itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stoker.serve.errors import ApiError
from stoker.serve.prompts import Prompts
from stoker.spec.jobs import ModelRef


@dataclass(frozen=True)
class Target:
    """What a served name means now. `key` changes when the model behind the name does; `file`: a model in one file."""

    name: str
    label: str
    key: str
    ref: ModelRef | None = None
    file: Path | None = None


@dataclass(frozen=True)
class EngineRequest:
    """One answer to make. `prompt`: token ids, or the text or messages for an engine that makes its own of them."""

    prompt: Sequence[int] | str | None
    max_tokens: int
    messages: Sequence[Mapping[str, Any]] | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    num_logprobs: int | None = None
    is_streamed: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenLogprob:
    """A token's text, its log-probability, and the likeliest ones in its place."""

    token: str
    value: float
    top: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Part:
    """A stretch of an answer. The last one has `finish`; `tokens_in` and `tokens_out` may come with a later, empty one."""

    text: str = ""
    logprobs: Sequence[TokenLogprob] = ()
    finish: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None


class Engine(Protocol):
    """A model that answers."""

    prompts: Prompts | None
    context_tokens: int | None
    accepts: frozenset[str]  # parameters beyond the usual ones that requests may carry

    def start(self) -> None:
        """Start the process; SettingError when it never could."""

    async def is_ready(self) -> bool:
        """Tell whether it answers; EngineFailed once its process has ended."""

    @property
    def is_alive(self) -> bool:
        """Tell whether its process lives."""

    def answer(self, request: EngineRequest) -> AsyncIterator[Part]:
        """Yield an answer's parts; leaving early cancels it. EngineGone when the engine ends before the answer does."""

    async def stop(self) -> None:
        """End the process and what it left on the disk."""


class EngineFailed(Exception):
    """An engine's process ended before it was ready; the message ends with the last lines of its log."""


class EngineGone(ApiError):
    """The engine ended, or its connection broke, before the answer was whole."""

    def __init__(self, reason: str) -> None:
        message = f"the engine ended before the answer did ({reason}); it is started again: ask once more"
        super().__init__(502, message, type="server_error", code="engine_failed")
