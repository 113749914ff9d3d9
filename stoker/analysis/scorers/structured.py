"""JSON answers: equal as values, or the share of their parts that agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from stoker.analysis.scorers.base import Meta, Scorer, accepted

_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL | re.IGNORECASE)
_NOTHING = object()
_DEPTH = 200


def parse_json(text: str) -> Any:
    """Return the JSON value of an answer: the whole text, else a fenced block, else the first object or array in it.

    ValueError when there is none. NaN, Infinity and a key that stands twice are no JSON here.
    """
    for candidate in (text, *(match[1] for match in _FENCE.finditer(text))):
        value = _parse(candidate.strip())
        if value is not _NOTHING:
            return value
    for match in re.finditer(r"[{\[]", text):
        value = _parse_prefix(text[match.start() :])
        if value is not _NOTHING:
            return value
    raise ValueError("no JSON value")


def json_f1(expected: Any, given: Any) -> float:
    """Return F1 over leaves: a leaf is right when the same value stands under the same path of keys and positions."""
    wanted, got = dict(_leaves(expected)), dict(_leaves(given))
    num_right = sum(path in got and _is_equal(value, got[path]) for path, value in wanted.items())
    return 2 * num_right / (len(wanted) + len(got))


def _score(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    try:
        given = parse_json(answer)
    except (ValueError, RecursionError):
        return {"json": 0.0, "json_parts": 0.0, "json_valid": 0.0}
    wanted = [_strict(each) for each in accepted(meta, expected)]
    return {
        "json": float(any(_is_equal(each, given) for each in wanted)),
        "json_parts": max(json_f1(each, given) for each in wanted),
        "json_valid": 1.0,
    }


def _strict(text: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        return _NOTHING


def _parse(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return _NOTHING


def _parse_prefix(text: str) -> Any:
    try:
        return json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return _NOTHING


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _is_equal(a: Any, b: Any) -> bool:
    """Compare as JSON: 1 and 1.0 are equal, true and 1 are not."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_is_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_is_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    return type(a) is type(b) and bool(a == b)


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict | list) and value and len(path) < _DEPTH:
        for key, part in parts:
            yield from _leaves(part, (*path, key))
    else:
        yield path, value


JSON = Scorer("json", {"json": True, "json_parts": False, "json_valid": True}, _score)
