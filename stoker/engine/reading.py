"""What a request to an engine asks for, checked: nothing that is not understood is passed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from stoker.engine.choosing import Sampling
from stoker.model.encoded import Ids

MAX_LOGPROBS = 20
_KNOWN = {
    "model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "stream", "stream_options",
    "whole", "n", "user",
}  # fmt: skip
_DEFAULT_TOKENS = 16


class Refused(Exception):
    """A request that can't be answered, with its HTTP status."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "invalid_request_error", code: str | None = None
    ):
        super().__init__(message)
        self.status, self.kind, self.code = status, kind, code


@dataclass(frozen=True)
class Wish:
    """A checked request. `is_whole`: streamed, but in one piece at the end, for a gateway whose client waits for all of it."""

    prompt: Ids
    max_tokens: int
    sampling: Sampling
    stops: tuple[str, ...]
    is_stream: bool
    is_whole: bool


def read_wish(body: bytes, tokenizer: Any, context_tokens: int) -> Wish:
    """Return what the body asks for; Refused says what is wrong with it."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Refused("the body is not a JSON object")
    unknown = sorted(name for name, value in fields.items() if name not in _KNOWN and value is not None)
    if unknown:
        raise Refused(f"{unknown[0]} is not understood by this engine", code="unsupported_parameter")
    if fields.get("n") not in (None, 1):
        raise Refused("n is 1 here: ask again for another answer", code="unsupported_parameter")
    prompt = _prompt(fields.get("prompt"), tokenizer)
    room = context_tokens - len(prompt)
    if room < 1:
        raise Refused(
            f"the prompt has {len(prompt)} tokens and the context {context_tokens}", code="context_length_exceeded"
        )
    stream = bool(fields.get("stream"))
    sampling = Sampling(
        temperature=_number(fields, "temperature", 1.0, 0.0, 2.0),
        top_p=max(_number(fields, "top_p", 1.0, 0.0, 1.0), 1e-9),
        seed=_whole(fields, "seed", -(2**63), 2**63 - 1),
        num_logprobs=_whole(fields, "logprobs", 0, MAX_LOGPROBS),
    )
    max_tokens = _whole(fields, "max_tokens", 1, 2**31) or _DEFAULT_TOKENS
    is_whole = not stream or bool(fields.get("whole"))
    return Wish(prompt, min(max_tokens, room), sampling, _stops(fields.get("stop")), stream, is_whole)


def _prompt(given: Any, tokenizer: Any) -> Ids:
    if isinstance(given, str):
        given = tokenizer(given)["input_ids"]
    if not isinstance(given, list) or not given or not all(type(one) is int for one in given):
        raise Refused("prompt is a text or a list of token ids, and not empty")
    if not all(0 <= one < len(tokenizer) for one in given):
        raise Refused(f"prompt has a token id that is not between 0 and {len(tokenizer) - 1}")
    return np.array(given, dtype=np.int32)


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise Refused("stop is a text or a list of texts")
    return tuple(stops)


def _number(fields: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refused(f"{name} is a number between {low:g} and {high:g}")
    return float(value)


def _whole(fields: dict[str, Any], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise Refused(f"{name} is a whole number between {low} and {high}")
    return value
