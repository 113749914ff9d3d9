"""Requests of clients, read strictly: what a request asks for is done, or refused with the name of the parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from stoker.serve.errors import ApiError
from stoker.spec.serving import ServeSpec

MAX_CHOICES = 64
MAX_STOPS = 16
_ROLES = ("system", "developer", "user", "assistant", "tool")
_HARMLESS = {
    "user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
_COMMON = {
    "model", "max_tokens", "temperature", "top_p", "seed", "stop", "n", "stream", "stream_options", "logprobs",
}  # fmt: skip
_CHAT = {"messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice"}
_COMPLETIONS = {"prompt", "echo", "best_of", "suffix"}
_NOTHING = {"presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "response_format": {"type": "text"}}


@dataclass(frozen=True)
class Ask:
    """A checked request. `max_tokens` None: as many as fit. `extra`: what only some engines understand."""

    model: str | None
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    stops: tuple[str, ...]
    num_choices: int
    is_stream: bool
    has_usage: bool
    num_logprobs: int | None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    prompts: list[str | list[int]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def parse(body: bytes) -> dict[str, Any]:
    """Return the body's object; ApiError 400 for anything else. NaN, lone surrogates and endless nesting are no JSON."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "the body is not a JSON object")
    return fields


def read_chat(fields: Mapping[str, Any], spec: ServeSpec) -> Ask:
    """Read a body of /v1/chat/completions."""
    _whether(fields, "logprobs")
    num_top = _whole(fields, "top_logprobs", 0, 20)
    if num_top is not None and not fields.get("logprobs"):
        raise _bad("top_logprobs", "needs logprobs = true")
    if fields.get("tool_choice") not in (None, "auto", "none"):
        raise _bad("tool_choice", 'is "auto" or "none": answers are not forced into calls')
    ask = _common(
        fields, spec, _COMMON | _CHAT, "max_completion_tokens", num_top or 0 if fields.get("logprobs") else None
    )
    return Ask(**ask, messages=_messages(fields.get("messages")), tools=_tools(fields))


def read_completion(fields: Mapping[str, Any], spec: ServeSpec) -> Ask:
    """Read a body of /v1/completions."""
    for name in ("echo", "suffix"):
        if fields.get(name):
            raise _bad(name, "is not offered here")
    if fields.get("best_of") not in (None, 1, fields.get("n")):
        raise _bad("best_of", "is not offered here beyond n")
    ask = _common(fields, spec, _COMMON | _COMPLETIONS, "max_tokens", _whole(fields, "logprobs", 0, 20))
    if ask["max_tokens"] is None:
        ask["max_tokens"] = min(16, spec.max_tokens)
    prompts = _prompts(fields.get("prompt"))
    if len(prompts) * ask["num_choices"] > MAX_CHOICES:
        raise _bad("n", f"times the number of prompts is at most {MAX_CHOICES}")
    return Ask(**ask, prompts=prompts)


def read_generate(fields: Mapping[str, Any], spec: ServeSpec) -> Ask:
    """Read a body of /generate: a prompt as a person would type it. Greedy unless it says otherwise."""
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise _bad("prompt", "is a text, and not empty")
    system = fields.get("system")
    if system is not None and not isinstance(system, str):
        raise _bad("system", "is a text")
    known = _COMMON - {"n", "stream", "stream_options", "logprobs"} | {"prompt", "system"}
    ask = _common({"temperature": 0, **fields}, spec, known, "max_tokens", None, needs_model=False)
    messages = [{"role": "system", "content": system}] if system else []
    return Ask(**ask, messages=[*messages, {"role": "user", "content": prompt}])


def _common(
    fields: Mapping[str, Any], spec: ServeSpec, known: set[str], other_limit: str, num_logprobs: int | None,
    *, needs_model: bool = True,
) -> dict[str, Any]:  # fmt: skip
    model = fields.get("model")
    if (model is None and needs_model) or not isinstance(model, str | None):
        raise _bad("model", "is the name of a model; GET /v1/models lists them")
    stream = _whether(fields, "stream")
    options = fields.get("stream_options") or {}
    if not isinstance(options, dict) or (options and not stream):
        raise _bad("stream_options", "is an object, for streams")
    limits = [_max_tokens(fields, name, spec) for name in {"max_tokens", other_limit}]
    return {
        "model": model,
        "max_tokens": min((limit for limit in limits if limit is not None), default=None),
        "temperature": _number(fields, "temperature", 1.0, 0.0, 2.0),
        "top_p": _number(fields, "top_p", 1.0, 0.0, 1.0),
        "seed": _whole(fields, "seed", -(2**63), 2**63 - 1),
        "stops": _stops(fields.get("stop")),
        "num_choices": _whole(fields, "n", 1, MAX_CHOICES) or 1,
        "is_stream": stream,
        "has_usage": _whether(options, "include_usage"),
        "num_logprobs": num_logprobs,
        "extra": _extra(fields, known),
    }


def _extra(fields: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Return the parameters that not every engine has, but for those that ask for nothing."""
    others = {name: value for name, value in fields.items() if name not in known | _HARMLESS and value is not None}
    return {name: value for name, value in others.items() if name not in _NOTHING or value != _NOTHING[name]}


def _messages(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not given:
        raise _bad("messages", "is a list of messages, and not empty")
    return [_message(one, f"messages[{i}]") for i, one in enumerate(given)]


def _message(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict) or given.get("role") not in _ROLES:
        raise _bad(where, f"is an object whose role is one of {', '.join(_ROLES)}")
    calls = given.get("tool_calls")
    if calls is not None and (not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls)):
        raise _bad(f"{where}.tool_calls", "is a list of objects")
    content = given.get("content")
    if isinstance(content, list):
        content = "".join(_text_part(part, where) for part in content)
    if not isinstance(content, str) and not (content is None and given["role"] == "assistant" and calls):
        raise _bad(f"{where}.content", "is a text")
    message = {"role": "system" if given["role"] == "developer" else given["role"], "content": content}
    kept = {name: given[name] for name in ("tool_calls", "tool_call_id", "name") if given.get(name) is not None}
    return message | kept


def _text_part(part: Any, where: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise _bad(f"{where}.content", "holds parts that are no text; these models read text alone")
    return str(part["text"])


def _tools(fields: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    tools = fields.get("tools")
    if tools is not None and (not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools)):
        raise _bad("tools", "is a list of objects")
    return None if fields.get("tool_choice") == "none" else tools or None


def _prompts(given: Any) -> list[str | list[int]]:
    if isinstance(given, str) and given:
        return [given]
    if isinstance(given, list) and given:
        if all(_is_token(one) for one in given):
            return [given]
        if all((isinstance(one, str) and one) or _are_tokens(one) for one in given):
            return given
    raise _bad("prompt", "is a text, a list of token ids, or a list of those, and not empty")


def _are_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(_is_token(one) for one in given)


def _is_token(given: Any) -> bool:
    return type(given) is int and 0 <= given < 2**31


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise _bad("stop", f"is a text or a list of at most {MAX_STOPS} texts, none of them empty")
    return tuple(stops)


def _max_tokens(fields: Mapping[str, Any], name: str, spec: ServeSpec) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= spec.max_tokens:
        raise _bad(name, f"is a whole number between 1 and {spec.max_tokens} (serve.max_tokens)")
    return value


def _whole(fields: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        raise _bad(name, f"is a whole number between {low} and {high}")
    return value


def _number(fields: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _bad(name, f"is a number between {low:g} and {high:g}")
    return float(value)


def _whether(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool | None):
        raise _bad(name, "is true or false")
    return bool(value)


def _bad(param: str, rule: str) -> ApiError:
    return ApiError(400, f"{param} {rule}", code="invalid_value", param=param)
