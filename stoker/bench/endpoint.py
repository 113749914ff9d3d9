"""A model behind an OpenAI-compatible API: chat answers, the likelihood of given text, the speed of one stream.

What may pass by itself (a lost connection, 429, 5xx) is tried again for a while; everything else is an EndpointError
that says what the server said, or Refused when it is about one prompt. The API key is read when it is needed, sent
in a header alone, and taken out of every message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from stoker.errors import InvalidInput, UserError
from stoker.spec.jobs import EndpointRef

_ATTEMPTS = 5
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.25, 30.0
_PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})
_ABOUT_THE_PROMPT = frozenset({400, 413, 422})
_TIMEOUT = httpx2.Timeout(600.0, connect=10.0)
_EXCERPT_CHARS = 300


class EndpointError(UserError):
    """The endpoint can't be used as it is."""


class Refused(EndpointError):
    """The endpoint takes no such prompt: it may be too long for it."""


class NotMeasurable(EndpointError):
    """The endpoint can't be asked this benchmark; others it may."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `nll` is its mean NLL per token where the server tells log-probabilities, `num_tokens` where it counts."""

    text: str
    is_finished: bool
    num_tokens: int | None
    nll: float | None


@dataclass(frozen=True, slots=True)
class Scored:
    """Given text behind a context: its summed log-probability, its tokens, and whether each was the likeliest."""

    log_probability: float
    num_tokens: int
    is_greedy: bool


class Endpoint:
    """One model of one server. Methods may be called from several threads."""

    def __init__(self, ref: EndpointRef, root: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._ref, self._sleep = ref, sleep
        self._key = resolve_key(ref.key, root)
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx2.Client(timeout=_TIMEOUT, headers=headers)
        self._tells_logprobs = True

    def close(self) -> None:
        self._client.close()

    def chat(self, messages: Sequence[Mapping[str, Any]], max_tokens: int, **sampling: Any) -> Reply:
        """Answer a conversation, greedily unless told otherwise."""
        body = self._chat_body(messages, max_tokens, sampling)
        if self._tells_logprobs:
            try:
                return _reply(self._post("chat/completions", {**body, "logprobs": True}), self._shape_error)
            except Refused as refusal:
                if "logprob" not in str(refusal).lower():
                    raise
                self._tells_logprobs = False
        return _reply(self._post("chat/completions", body), self._shape_error)

    def stream(self, messages: Sequence[Mapping[str, Any]], max_tokens: int, **sampling: Any) -> Iterator[str]:
        """Yield an answer's text piece by piece."""
        body = {**self._chat_body(messages, max_tokens, sampling), "stream": True}
        url = f"{self._ref.url}/chat/completions"
        try:
            with self._client.stream("POST", url, json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise self._error(url, response)
                for line in response.iter_lines():
                    if piece := _content(line):
                        yield piece
        except httpx2.HTTPError as error:
            raise EndpointError(
                f"{url} breaks off ({type(error).__name__}: {error})", "", "see the server's log"
            ) from None

    def _chat_body(
        self, messages: Sequence[Mapping[str, Any]], max_tokens: int, sampling: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "model": self._ref.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0, **sampling
        }  # fmt: skip

    def complete(self, prompt: str, max_tokens: int, stop: Sequence[str] = (), **sampling: Any) -> str:
        """Continue plain text, greedily unless told otherwise, up to a stop text."""
        body = {"model": self._ref.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **sampling}
        found = self._post("completions", {**body, "stop": list(stop)} if stop else body)
        try:
            return str(found["choices"][0]["text"])
        except (KeyError, IndexError, TypeError):
            raise self._shape_error("completions") from None

    def score(self, context: str, text: str) -> Scored:
        """Return how likely `text` is after `context`; NotMeasurable where the server echoes no log-probabilities."""
        body = {"model": self._ref.model, "prompt": context + text, "max_tokens": 1, "temperature": 0}
        try:
            found = self._post("completions", {**body, "echo": True, "logprobs": 1})
            return _scored(found["choices"][0]["logprobs"], context, text)
        except (KeyError, IndexError, TypeError, ValueError, Refused) as error:
            raise NotMeasurable(
                f"{self._ref.label} does not tell how likely a given text is",
                f"that takes /completions with echo and logprobs ({_excerpt(str(error))})",
                'set method = "generation" in the benchmark\'s header, or serve the model with a server that has it',
            ) from None

    def speed(self, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> tuple[float, float | None] | None:
        """Return seconds to the first token and tokens per second from there on; None when it does not stream."""
        body = {
            "model": self._ref.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0,
            "stream": True,
        }  # fmt: skip
        started = time.perf_counter()
        moments: list[float] = []
        try:
            with self._client.stream("POST", f"{self._ref.url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    return None
                for line in response.iter_lines():
                    if _content(line):
                        moments.append(time.perf_counter())
        except httpx2.HTTPError:
            return None
        if not moments:
            return None
        rate = (len(moments) - 1) / (moments[-1] - moments[0]) if len(moments) > 1 else None
        return moments[0] - started, rate

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        url = f"{self._ref.url}/{path}"
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = self._client.post(
                    url, content=orjson.dumps(body), headers={"content-type": "application/json"}
                )
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                raise EndpointError(
                    f"{self._ref.url} is not there ({error})", "nothing answers at this address",
                    "start the server, or check the address",
                ) from None  # fmt: skip
            except httpx2.HTTPError as error:
                if attempt == _ATTEMPTS:
                    raise EndpointError(
                        f"{url} breaks off ({type(error).__name__}: {error})", "", "see its log"
                    ) from None
                self._wait(attempt, None)
                continue
            if response.status_code == 200:
                return self._parsed(url, response.content)
            if response.status_code not in _PASSING or attempt == _ATTEMPTS:
                raise self._error(url, response)
            self._wait(attempt, response.headers.get("retry-after"))
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, attempt: int, asked: str | None) -> None:
        seconds = _FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
        if asked is not None and asked.isdigit():
            seconds = float(asked)
        self._sleep(min(seconds, _LONGEST_WAIT_SECONDS))

    def _parsed(self, url: str, content: bytes) -> Any:
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            said = self._shown(content.decode("utf-8", "replace"))
            raise EndpointError(
                f"{url} answers no JSON ({error}): {said!r}", "it is not an OpenAI-compatible API, or a proxy is in between",
                "check the address; it usually ends in /v1",
            ) from None  # fmt: skip

    def _error(self, url: str, response: httpx2.Response) -> EndpointError:
        said = self._shown(_message(response.content))
        what = f"{url} answers {response.status_code}: {said}"
        if response.status_code in (401, 403):
            return EndpointError(what, "it asks for a key", "add --key env:NAME or --key file:PATH")
        if response.status_code == 404:
            return EndpointError(
                what, f"it knows no {self._ref.model!r}, or not this path{self._names()}",
                "write http://HOST:PORT/v1#MODEL",
            )  # fmt: skip
        if response.status_code in _ABOUT_THE_PROMPT:
            return Refused(what, "", "see what it says")
        return EndpointError(what, "", "see the server's log; what was answered is kept")

    def _names(self) -> str:
        try:
            found = orjson.loads(self._client.get(f"{self._ref.url}/models").content)
            names = [str(one["id"]) for one in found["data"]]
        except (httpx2.HTTPError, orjson.JSONDecodeError, KeyError, TypeError):
            return ""
        return f"; it has {', '.join(names[:10])}" if names else ""

    def _shape_error(self, path: str) -> EndpointError:
        return EndpointError(
            f"{self._ref.url}/{path} answers JSON without an answer", "it is not an OpenAI-compatible API",
            "check the address; it usually ends in /v1",
        )  # fmt: skip

    def _shown(self, words: str) -> str:
        return _excerpt(words.replace(self._key, "***") if self._key else words)


def resolve_key(reference: str, root: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the API key that env:NAME or file:PATH (below `root` when relative) holds; "" for no reference."""
    if not reference:
        return ""
    kind, _, name = reference.partition(":")
    if kind == "env":
        key = environment.get(name, "").strip()
        if not key:
            raise InvalidInput(f"{name} is not set", f"the endpoint's key is {reference}", f"export {name}=KEY first")
        return key
    path = root / Path(name).expanduser()
    try:
        key = path.read_text("utf-8").strip().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"{path} can't be read", str(why), "put the endpoint's key into it") from None
    if not key:
        raise InvalidInput(f"{path} is empty", "", "put the endpoint's key into it")
    return key


def _reply(found: Any, shape_error: Callable[[str], EndpointError]) -> Reply:
    try:
        choice = found["choices"][0]
        text = str(choice["message"]["content"] or "")
        content = (choice.get("logprobs") or {}).get("content") or []
        told = [float(token["logprob"]) for token in content]
        counted = (found.get("usage") or {}).get("completion_tokens")
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise shape_error("chat/completions") from None
    num_tokens = counted if isinstance(counted, int) else len(told) or None
    nll = -sum(told) / len(told) if told else None
    return Reply(text, choice.get("finish_reason") == "stop", num_tokens, nll)


def _scored(told: Mapping[str, Any], context: str, text: str) -> Scored:
    """Sum over the tokens that reach behind the context; the one that was generated after the text does not count."""
    tokens, values = told["tokens"], told["token_logprobs"]
    tops = told.get("top_logprobs") or [None] * len(tokens)
    offsets = told.get("text_offset") or _offsets(tokens)
    ends = [*offsets[1:], offsets[-1] + len(tokens[-1])]
    end_of_text = len(context) + len(text)
    places = [i for i, start in enumerate(offsets) if ends[i] > len(context) and start < end_of_text]
    if not places or any(values[i] is None for i in places) or ends[places[-1]] < end_of_text:
        raise ValueError("the prompt is not echoed with the log-probability of each token")
    is_greedy = all(not tops[i] or values[i] >= max(tops[i].values()) for i in places)
    return Scored(float(sum(values[i] for i in places)), len(places), is_greedy)


def _offsets(tokens: Sequence[str]) -> list[int]:
    offsets, at = [], 0
    for token in tokens:
        offsets.append(at)
        at += len(token)
    return offsets


def _content(line: str) -> str:
    """Return the text that a line of a stream brings; "" for any other line."""
    if not line.startswith("data:") or line[5:].strip() == "[DONE]":
        return ""
    try:
        choices = orjson.loads(line[5:]).get("choices") or [{}]
        return str((choices[0].get("delta") or {}).get("content") or "")
    except (orjson.JSONDecodeError, AttributeError):
        return ""


def _message(content: bytes) -> str:
    try:
        found = orjson.loads(content)
        error = found.get("error", found)
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (orjson.JSONDecodeError, AttributeError):
        return content.decode("utf-8", "replace")


def _excerpt(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _EXCERPT_CHARS else words[: _EXCERPT_CHARS - 1] + "…"
