"""Speaking OpenAI's protocol with an engine: the request's body, and the stream of parts that comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson

from stoker.serve.engines.base import EngineGone, EngineRequest, Part, TokenLogprob
from stoker.serve.errors import ApiError

_TIMEOUT = httpx2.Timeout(10.0, read=None, pool=None)
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=64)


def connect(port: int, secret: str | None = None) -> httpx2.AsyncClient:
    """Return a client of the engine on a port of this machine; no proxy of the environment is between them."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT, limits=_LIMITS, headers=headers, trust_env=False
    )


async def speak(client: httpx2.AsyncClient, model: str, request: EngineRequest) -> AsyncIterator[Part]:
    """Ask and yield the parts; a refusal of the engine is raised as it was."""
    path = "/v1/chat/completions" if request.messages is not None else "/v1/completions"
    try:
        async with client.stream("POST", path, content=orjson.dumps(_body(model, request))) as response:
            if response.status_code != 200:
                raise _refusal(response.status_code, await response.aread())
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line[5:].strip()
                if data == "[DONE]":
                    return
                yield _part(orjson.loads(data))
    except (httpx2.TransportError, orjson.JSONDecodeError) as error:
        raise EngineGone(type(error).__name__) from error
    raise EngineGone("its stream broke off")


def _body(model: str, request: EngineRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model, "max_tokens": request.max_tokens, "temperature": request.temperature, "top_p": request.top_p,
        "stream": True, "stream_options": {"include_usage": True}, **request.extra,
    }  # fmt: skip
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stops:
        body["stop"] = list(request.stops)
    if request.messages is None:
        body["prompt"] = request.prompt
        if request.num_logprobs is not None:
            body["logprobs"] = request.num_logprobs
        return body
    body["messages"] = request.messages
    if request.num_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.num_logprobs}
    return body


def _part(event: dict[str, Any]) -> Part:
    if event.get("error"):
        error = event["error"] if isinstance(event["error"], dict) else {"message": str(event["error"])}
        raise ApiError(502, f"the engine failed: {error.get('message')}", type="server_error", code="engine_failed")
    usage = event.get("usage") or {}
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    if not event.get("choices"):
        return Part(tokens_in=counts[0], tokens_out=counts[1])
    choice = event["choices"][0]
    text = choice.get("text")
    if text is None:
        text = (choice.get("delta") or {}).get("content")
    return Part(text or "", _logprobs(choice.get("logprobs")), choice.get("finish_reason"), *counts)


def _logprobs(given: dict[str, Any] | None) -> list[TokenLogprob]:
    """Read log-probabilities in the form of completions or of chats: servers answer either with either."""
    if not given:
        return []
    if given.get("content") is not None:
        return [
            TokenLogprob(
                one["token"], one["logprob"], [(t["token"], t["logprob"]) for t in one.get("top_logprobs") or ()]
            )
            for one in given["content"]
        ]
    tops = given.get("top_logprobs") or [None] * len(given["tokens"])
    return [
        TokenLogprob(token, value if value is not None else 0.0, list((top or {}).items()))
        for token, value, top in zip(given["tokens"], given["token_logprobs"], tops, strict=True)
    ]


def _refusal(status: int, body: bytes) -> ApiError:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = {}
    error = found.get("error", found) if isinstance(found, dict) else {}
    error = error if isinstance(error, dict) else {"message": str(error)}
    message = str(error.get("message") or f"the engine answered with status {status}")
    if 400 <= status < 500 and status not in (401, 403, 404):
        return ApiError(status, message, code=error.get("code") if isinstance(error.get("code"), str) else None)
    return ApiError(502, f"the engine failed: {message}", type="server_error", code="engine_failed")
