"""JSON as Stoker takes it: strict (orjson refuses NaN, surrogates and infinities) and at most MAX_DEPTH levels deep."""

from __future__ import annotations

from typing import Any

import orjson

from stoker.data.findings import RowProblem

MAX_DEPTH = 64


def parse_inner(text: str, code: str, what: str) -> Any:
    """Parse JSON that a row holds as a string; RowProblem with `code` when it is not JSON, too-deep when it is nested."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RowProblem(code, f"{what} is not JSON ({error})") from None
    if is_too_deep(value, text.count("{") + text.count("[")):
        raise RowProblem("too-deep", f"{what} is nested deeper than {MAX_DEPTH} levels")
    return value


def is_too_deep(value: Any, num_brackets: int) -> bool:
    """Tell whether a value is nested deeper than MAX_DEPTH; the number of its brackets makes most answers cheap."""
    return num_brackets > MAX_DEPTH and _depth(value) > MAX_DEPTH


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth
