"""The inference routes: each reads a request, asks who may, answers, and tells the ticket what became of it.

An answer begins only when its first part is there, so whatever goes wrong before has its own status; after that an error is an
event of the stream. A client that goes away ends its answer at the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stoker.serve.access import Access, Ticket
from stoker.serve.answering import answers, choices_of
from stoker.serve.engines.base import Part
from stoker.serve.errors import ApiError
from stoker.serve.models import Models, Served
from stoker.serve.reading import Ask, parse, read_chat, read_completion, read_generate
from stoker.serve.shapes import Shape, Told, usage
from stoker.spec.serving import ServeSpec

MAX_BODY_BYTES = 8 << 20
_CLIENT_GONE = 499
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_Parts = AsyncGenerator[tuple[int, Part], None]


class Inference:
    """The routes over a gateway's models."""

    def __init__(self, models: Models, access: Access, spec: ServeSpec) -> None:
        self._models, self._access, self._spec = models, access, spec
        self._began = int(time.time())

    def routes(self) -> list[Route]:
        """Return the routes, each also below a share link."""
        posts: list[tuple[str, _Handler]] = [
            ("/v1/chat/completions", self.chat), ("/v1/completions", self.complete), ("/generate", self.generate),
        ]  # fmt: skip
        found = [Route("/healthz", self.health), Route("/readyz", self.readiness)]
        for prefix in ("", "/share/{link}"):
            found += [Route(prefix + path, handler, methods=["POST"]) for path, handler in posts]
            found.append(Route(f"{prefix}/v1/models", self.list_models))
            found.append(Route(prefix + "/v1/models/{name:path}", self.show_model))
        return found

    async def health(self, request: Request) -> Response:
        """Tell that the gateway lives."""
        return as_json({"status": "ok"})

    async def readiness(self, request: Request) -> Response:
        """Tell whether every model has an engine that answers: 200, else 503."""
        problems = {name: one.problem for name, one in self._models.served.items() if one.running is None}
        return as_json({"status": "waiting" if problems else "ready", "problems": problems}, 503 if problems else 200)

    async def list_models(self, request: Request) -> Response:
        grant = self._access.authorise(**_credentials(request), scope="models")
        shown = [one for one in self._models.served.values() if any(map(grant.allows, _names(one)))]
        return as_json({"object": "list", "data": [self._model(one) for one in shown]})

    async def show_model(self, request: Request) -> Response:
        self._access.authorise(**_credentials(request), scope="models")
        served = self._models.find(request.path_params["name"])
        self._access.authorise(**_credentials(request), scope="models", model=_names(served))
        return as_json(self._model(served))

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, "/v1/chat/completions", read_chat, is_chat=True)

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, "/v1/completions", read_completion, is_chat=False)

    async def generate(self, request: Request) -> Response:
        """Answer {prompt, max_tokens} with {text, ...}, as `stoker generate` would."""

        def shaped(whole: dict[str, Any]) -> dict[str, Any]:
            choice = whole["choices"][0]
            return {
                "text": choice["message"]["content"], "model": whole["model"], "finish_reason": choice["finish_reason"],
                "usage": whole["usage"], "id": whole["id"],
            }  # fmt: skip

        return await self._answer(request, "/generate", read_generate, is_chat=True, shaped=shaped)

    async def _answer(
        self,
        request: Request,
        endpoint: str,
        read: Callable[[Mapping[str, Any], ServeSpec], Ask],
        *,
        is_chat: bool,
        shaped: Callable[[dict[str, Any]], dict[str, Any]] = lambda whole: whole,
    ) -> Response:
        credentials = _credentials(request)
        self._access.authorise(**credentials, scope="generate")
        fields = parse(await read_body(request))
        ask = read(fields, self._spec)
        served = self._models.find(ask.model if ask.model is not None else next(iter(self._models.served)))
        grant = self._access.authorise(**credentials, scope="generate", model=_names(served))
        limit = ask.max_tokens or self._spec.max_tokens
        ticket = self._access.begin(
            grant, model=served.name, endpoint=endpoint, max_tokens=limit * len(choices_of(ask))
        )
        account = _Account(ticket, ask, fields.get("messages", fields.get("prompt")))
        shape = Shape(ticket.id, ask.model or served.name, is_chat=is_chat, has_logprobs=ask.num_logprobs is not None)
        if self._spec.keep_prompts and ask.num_logprobs is None:
            ask = replace(ask, num_logprobs=0)  # for how sure the model was, which goes with what is kept
        parts: _Parts = answers(self._models, served, ask, self._spec)  # type: ignore[assignment]  # a generator
        try:
            first = await _unless_gone(request, account.counted(anext(parts)))
            if ask.is_stream:
                return Stream(self._events(shape, ask, account, first, parts), account, parts)
            await _unless_gone(request, account.collected(parts))
        except BaseException as error:
            await parts.aclose()
            account.failed(error)
            if isinstance(error, ApiError):
                error.headers.setdefault("x-request-id", ticket.id)
            raise
        account.end(200)
        return as_json(shaped(shape.whole(account.told)), headers={"x-request-id": ticket.id})

    async def _events(
        self, shape: Shape, ask: Ask, account: _Account, first: tuple[int, Part], rest: _Parts
    ) -> AsyncGenerator[bytes, None]:
        try:
            for index in range(len(account.told)):
                opening = shape.opening(index)
                if opening is not None:
                    yield event(opening)
            index, part = first
            while True:
                chunk = shape.chunk(index, part)
                if chunk is not None:
                    yield event(chunk)
                try:
                    index, part = await account.counted(anext(rest))
                except StopAsyncIteration:
                    break
        except ApiError as error:
            account.failed(error)
            yield event(error.body())
            return
        if ask.has_usage:
            yield event(shape.closing(account.told))
        account.end(200)
        yield b"data: [DONE]\n\n"

    def _model(self, served: Served) -> dict[str, Any]:
        label = served.running.target.label if served.running else served.target.label if served.target else None
        context = served.running.engine.context_tokens if served.running else None
        return {
            "id": served.name, "object": "model", "created": self._began, "owned_by": "stoker", "root": label,
            "max_model_len": context, "ready": served.running is not None,
        }  # fmt: skip


class Stream(StreamingResponse):
    """A stream that closes its answer and its account however it ends."""

    def __init__(self, events: AsyncGenerator[bytes, None], account: _Account, parts: _Parts) -> None:
        headers = {"x-request-id": account.ticket.id, "cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events, self._account, self._parts = events, account, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._account.end(_CLIENT_GONE, error="the client went away")  # only if it is not told yet
            await self._events.aclose()
            await self._parts.aclose()


class _Account:
    """What a request used, for its ticket; ended once."""

    def __init__(self, ticket: Ticket, ask: Ask, prompt: Any) -> None:
        self.ticket = ticket
        self.told = [Told() for _ in choices_of(ask)]
        self._prompt = prompt
        self._began = time.monotonic()
        self._first: float | None = None
        self._is_over = False

    async def counted(self, coming: Coroutine[Any, Any, tuple[int, Part]] | Any) -> tuple[int, Part]:
        index, part = await coming
        if self._first is None:
            self._first = time.monotonic() - self._began
        self.told[index].add(part)
        return index, part

    async def collected(self, parts: _Parts) -> None:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await self.counted(anext(parts))

    def failed(self, error: BaseException) -> None:
        is_gone = isinstance(error, _Gone | asyncio.CancelledError)
        status = error.status if isinstance(error, ApiError) else _CLIENT_GONE if is_gone else 500
        self.end(status, error=str(error) or type(error).__name__)

    def end(self, status: int, error: str | None = None) -> None:
        if self._is_over:
            return
        self._is_over = True
        counts = usage(self.told)
        self.ticket.end(
            status=status,
            tokens_in=counts["prompt_tokens"],
            tokens_out=counts["completion_tokens"],
            first_token_seconds=self._first,
            seconds=time.monotonic() - self._began,
            error=error,
            prompt=self._prompt,
            answer="".join(self.told[0].text),
            confidence=self.told[0].confidence,
        )


class _Gone(Exception):
    """The client went away."""


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Return the work's result; _Gone, and the work cancelled, when the client leaves first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise _Gone
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request) -> bytes:
    """Return the body; ApiError 413 past MAX_BODY_BYTES."""
    too_large = ApiError(413, f"the body has more than {MAX_BODY_BYTES:,} bytes", code="request_too_large")
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    return bytes(body)


def as_json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json", headers=dict(headers or {}))


def event(body: Any) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _names(served: Served) -> tuple[str, ...]:
    """Return the name a model is served by and the version's own."""
    return (served.name, served.target.label) if served.target is not None else (served.name,)


def _credentials(request: Request) -> dict[str, Any]:
    return {"authorization": request.headers.get("authorization"), "link": request.path_params.get("link")}
