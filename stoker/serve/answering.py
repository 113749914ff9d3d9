"""From a client's request to its answers: prompts, one engine request for each choice, their parts as they come.

An engine that ends before the first part of an answer is asked no more: the request goes to the one that takes its place. After
that there is no way back, and the client is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from stoker.serve.engines.base import Engine, EngineGone, EngineRequest, Part
from stoker.serve.errors import ApiError
from stoker.serve.models import Models, Served
from stoker.serve.reading import Ask
from stoker.spec.serving import ServeSpec

_ATTEMPTS = 3
_LONG_TEXT = 20_000


@dataclass(frozen=True)
class Choice:
    """One answer asked for: its place among the choices, its prompt and its seed."""

    index: int
    prompt: str | list[int] | None
    seed: int | None


def choices_of(ask: Ask) -> list[Choice]:
    """Return the answers a request asks for; each further one has a seed of its own."""
    prompts: list[Any] = list(ask.prompts) or [None]
    return [
        Choice(i * ask.num_choices + j, prompt, None if ask.seed is None else ask.seed + j)
        for i, prompt in enumerate(prompts)
        for j in range(ask.num_choices)
    ]


async def answers(models: Models, served: Served, ask: Ask, spec: ServeSpec) -> AsyncIterator[tuple[int, Part]]:
    """Yield (choice, part) of all choices as they come; the first error ends them all."""
    choices = choices_of(ask)
    if len(choices) == 1:
        async with contextlib.aclosing(_answer(models, served, ask, choices[0], spec)) as parts:  # type: ignore[type-var]
            async for part in parts:
                yield choices[0].index, part
        return
    told: asyncio.Queue[tuple[int, Part | Exception | None]] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(models, served, ask, choice, spec, told)) for choice in choices]
    try:
        num_open = len(tasks)
        while num_open:
            index, news = await told.get()
            if isinstance(news, Exception):
                raise news
            if news is None:
                num_open -= 1
            else:
                yield index, news
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    models: Models, served: Served, ask: Ask, choice: Choice, spec: ServeSpec,
    told: asyncio.Queue[tuple[int, Part | Exception | None]],
) -> None:  # fmt: skip
    try:
        async with contextlib.aclosing(_answer(models, served, ask, choice, spec)) as parts:  # type: ignore[type-var]
            async for part in parts:
                told.put_nowait((choice.index, part))
    except Exception as error:  # noqa: BLE001 - told to whoever reads the queue
        told.put_nowait((choice.index, error))
    else:
        told.put_nowait((choice.index, None))


async def _answer(models: Models, served: Served, ask: Ask, choice: Choice, spec: ServeSpec) -> AsyncIterator[Part]:
    for attempt in range(1, _ATTEMPTS + 1):
        has_begun = False
        try:
            async with models.place(served) as running:
                request = await engine_request(running.engine, ask, choice, spec)
                async with contextlib.aclosing(running.engine.answer(request)) as parts:  # type: ignore[type-var]
                    async for part in parts:
                        has_begun = True
                        yield part
            return
        except EngineGone:
            if has_begun or attempt == _ATTEMPTS:
                raise
            await models.look()


async def engine_request(engine: Engine, ask: Ask, choice: Choice, spec: ServeSpec) -> EngineRequest:
    """Return what the engine is asked; ApiError when it can't do that or the prompt fills its context."""
    unknown = sorted(set(ask.extra) - engine.accepts)
    if unknown:
        raise ApiError(
            400, f"{unknown[0]} is not offered by this model's engine", code="unsupported_parameter", param=unknown[0]
        )
    prompt: list[int] | str | None = choice.prompt
    messages: list[dict[str, Any]] | None = None
    if engine.prompts is None:
        messages = ask.messages
        if ask.tools:
            raise ApiError(
                400, "tools are not offered by this model's engine", code="unsupported_parameter", param="tools"
            )
    elif not isinstance(prompt, list):
        prompt = await _prompt(engine, ask, prompt)
    return EngineRequest(
        prompt=prompt,
        messages=messages,
        max_tokens=_limit(engine, ask, prompt, spec),
        temperature=ask.temperature,
        top_p=ask.top_p,
        seed=choice.seed,
        stops=ask.stops,
        num_logprobs=ask.num_logprobs,
        is_streamed=ask.is_stream,
        extra=ask.extra,
    )


async def _prompt(engine: Engine, ask: Ask, text: str | None) -> list[int]:
    assert engine.prompts is not None
    if ask.messages is not None:
        size = sum(len(message["content"] or "") for message in ask.messages)
        make, arguments = engine.prompts.of_messages, (ask.messages, ask.tools)
        return await asyncio.to_thread(make, *arguments) if size > _LONG_TEXT else make(*arguments)
    assert text is not None
    return await asyncio.to_thread(engine.prompts.of_text, text)


def _limit(engine: Engine, ask: Ask, prompt: list[int] | str | None, spec: ServeSpec) -> int:
    limit = ask.max_tokens or spec.max_tokens
    if engine.context_tokens is None or not isinstance(prompt, list):
        return limit
    room = engine.context_tokens - len(prompt)
    if room < 1:
        raise ApiError(
            400, f"the prompt has {len(prompt)} tokens, and this model's context is {engine.context_tokens}",
            code="context_length_exceeded", param="messages" if ask.messages is not None else "prompt",
        )  # fmt: skip
    return min(limit, room)
