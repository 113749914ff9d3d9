"""Marks for the basics: right or wrong, by each item's own rule. Nothing in an answer raises.

An answer that goes on after what was asked for is wrong where the question says to write nothing else or to stop: running on
is what models forget first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from stoker.errors import DataError

_FENCE = re.compile(r"^```(?:json)?\s*\n(.*?)\n?```$", re.DOTALL)
_SPACE = re.compile(r"\s+")


def is_right(meta: Mapping[str, Any], expected: str, answer: str) -> bool:
    """Tell whether an answer is right; DataError for an item whose rule is not known."""
    rule = _RULES.get(str(meta.get("rule")))
    if rule is None:
        raise DataError(f"rule {meta.get('rule')!r} is not known", f"rules are {', '.join(_RULES)}", "mend the item")
    return rule(expected, answer.strip())


def _exact(expected: str, answer: str) -> bool:
    return answer.strip("\"'") == expected


def _number(expected: str, answer: str) -> bool:
    found = re.fullmatch(r"(?:[\d\s+*x-]*=\s*)?(-?[\d,]+)\.?", answer)
    return found is not None and found[1].replace(",", "") == expected


def _list(expected: str, answer: str) -> bool:
    words = re.split(r"[,\n]+", answer.rstrip(".").lower())
    return [word.strip() for word in words if word.strip()] == expected.split(", ")


def _json(expected: str, answer: str) -> bool:
    fenced = _FENCE.match(answer)
    try:
        given: Any = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return False
    wanted = json.loads(expected)
    return bool(given == wanted) and all(type(given[key]) is type(wanted[key]) for key in wanted)


def _lines(expected: str, answer: str) -> bool:
    return [_SPACE.sub(" ", line).strip() for line in answer.splitlines() if line.strip()] == expected.splitlines()


def _word(expected: str, answer: str) -> bool:
    return answer.rstrip(".!").strip().lower() == expected


_RULES: dict[str, Callable[[str, str], bool]] = {
    "exact": _exact, "number": _number, "list": _list, "json": _json, "lines": _lines, "word": _word,
}  # fmt: skip
