"""The engine over HTTP: OpenAI's `/v1/completions` for one model, prompts as token ids or text.

It is what the gateway talks to, and complete enough to be run by itself. Who may ask is the gateway's affair: here a
shared secret keeps other users of the machine out. A client that goes away has its request cancelled at the next token.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from stoker.engine.answering import Answering, Asked, Piece
from stoker.engine.choosing import Logprob
from stoker.engine.reading import Refused, Wish, read_wish
from stoker.model.load import Loaded


class EngineApp:
    """The routes of one engine."""

    def __init__(self, loaded: Loaded, answering: Answering, *, name: str, context_tokens: int, secret: str | None):
        self._loaded, self._answering, self._name = loaded, answering, name
        self._context_tokens = context_tokens
        self._secret = secret
        self._created = int(time.time())
        self.starlette = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/v1/completions", self._complete, methods=["POST"]),
            ],
            exception_handlers={Refused: _refusal},
        )

    async def _health(self, request: Request) -> Response:
        return _json({"status": "ok", "running": self._answering.num_running})

    async def _models(self, request: Request) -> Response:
        self._check(request)
        model = {"id": self._name, "object": "model", "created": self._created, "owned_by": "stoker"}
        return _json({"object": "list", "data": [model | {"max_model_len": self._context_tokens}]})

    async def _complete(self, request: Request) -> Response:
        self._check(request)
        wish = read_wish(await request.body(), self._loaded.tokenizer, self._context_tokens)
        pieces = self._pieces(wish)
        first = await anext(pieces)
        if first.error is not None:
            raise Refused(first.error, status=503, kind="server_error")
        if wish.is_stream:
            return StreamingResponse(self._events(wish, first, pieces), media_type="text/event-stream")
        return _json(await self._whole(wish, first, pieces))

    async def _pieces(self, wish: Wish) -> AsyncIterator[Piece]:
        """Yield an answer's pieces; leaving early cancels the request."""
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Piece]()

        def tell(piece: Piece) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(told.put_nowait, piece)

        asked = Asked(wish.prompt, wish.max_tokens, wish.sampling, wish.stops, tell, is_streamed=not wish.is_whole)
        self._answering.ask(asked)
        try:
            while True:
                piece = await told.get()
                yield piece
                if piece.finish or piece.error is not None:
                    return
        finally:
            asked.is_cancelled = True

    async def _events(self, wish: Wish, first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
        answer_id, piece = _new_id(), first
        async with contextlib.aclosing(rest):  # type: ignore[type-var]  # an async generator
            while True:
                if piece.error is not None:
                    yield _event(
                        {"error": {"message": piece.error, "type": "server_error", "param": None, "code": None}}
                    )
                    return
                yield _event(self._body(answer_id, piece.text, piece.finish, self._logprobs(wish, piece.logprobs)))
                if piece.finish:
                    break
                piece = await anext(rest)
        yield _event(self._body(answer_id, None, None, None) | {"usage": _usage(wish, piece)})
        yield b"data: [DONE]\n\n"

    async def _whole(self, wish: Wish, first: Piece, rest: AsyncIterator[Piece]) -> dict[str, Any]:
        pieces = [first, *[piece async for piece in rest]]
        last = pieces[-1]
        if last.error is not None:
            raise Refused(last.error, status=503, kind="server_error")
        logprobs = self._logprobs(wish, tuple(one for piece in pieces for one in piece.logprobs))
        text = "".join(piece.text for piece in pieces)
        return self._body(_new_id(), text, last.finish, logprobs) | {"usage": _usage(wish, last)}

    def _body(self, answer_id: str, text: str | None, finish: str | None, logprobs: Any) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return {
            "id": answer_id, "object": "text_completion", "created": int(time.time()), "model": self._name,
            "choices": [] if text is None else [choice],
        }  # fmt: skip

    def _logprobs(self, wish: Wish, found: tuple[Logprob, ...]) -> dict[str, Any] | None:
        if wish.sampling.num_logprobs is None:
            return None
        return {
            "tokens": [self._token(one.token) for one in found],
            "token_logprobs": [one.value for one in found],
            "top_logprobs": [{self._token(token): value for token, value in one.top} for one in found],
            # As chats have them: several tokens may have one text, which the form above can't tell apart.
            "content": [self._chat_logprob(one) for one in found],
        }

    def _chat_logprob(self, one: Logprob) -> dict[str, Any]:
        top = [{"token": self._token(token), "logprob": value} for token, value in one.top]
        return {"token": self._token(one.token), "logprob": one.value, "top_logprobs": top}

    def _token(self, token: int) -> str:
        return str(self._loaded.tokenizer.decode([token]))

    def _check(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._secret is not None and not secrets.compare_digest(given.encode(), self._secret.encode()):
            raise Refused("this engine answers its gateway alone", status=401)


def _usage(wish: Wish, last: Piece) -> dict[str, int]:
    tokens_in, tokens_out = len(wish.prompt), last.num_tokens
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def _new_id() -> str:
    return f"cmpl-{secrets.token_hex(12)}"


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def _refusal(request: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    error = {"message": str(refused), "type": refused.kind, "param": None, "code": refused.code}
    return _json({"error": error}, refused.status)
