"""The names that files give to the same things, and the one each becomes. Case and spaces in names don't count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

QUESTION_KEYS = ("question", "query", "instruction", "input", "problem", "prompt")
ANSWER_KEYS = ("answer", "answers", "response", "output", "completion", "target", "solution", "text")
CONTEXT_KEYS = ("context", "passage", "document")
CONVERSATION_KEYS = ("messages", "conversations", "conversation", "dialogue", "dialog")
CHOSEN_KEYS = ("chosen", "chosen_response", "response_chosen", "answer_chosen", "preferred")
REJECTED_KEYS = ("rejected", "rejected_response", "response_rejected", "answer_rejected", "dispreferred")
LABEL_KEYS = ("label", "kto_tag")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "chain_of_thought", "cot")
SYSTEM_KEYS = ("system", "system_prompt")
KNOWN_SHAPES = (
    "messages; conversations; instruction, input, output; prompt, completion; question, answer; "
    "prompt, chosen, rejected; prompt, completion, label; text"
    f" (questions: {', '.join(QUESTION_KEYS)}; answers: {', '.join(ANSWER_KEYS)})"
)

_cache: dict[tuple[str, ...], tuple[str, ...] | None] = {}
_MAX_CACHED = 4096


def canonical_names(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the record under lower-case names with underscores; as it is when that changes nothing or is ambiguous."""
    names = tuple(record)
    try:
        renamed = _cache[names]
    except KeyError:
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        renamed = _cache[names] = _renamed(names)
    return record if renamed is None else dict(zip(renamed, record.values(), strict=True))


def _renamed(names: tuple[str, ...]) -> tuple[str, ...] | None:
    renamed = tuple("_".join(name.strip().lower().replace("-", " ").split()) for name in names)
    return None if renamed == names or len(set(renamed)) < len(names) else renamed


def first_of(names: tuple[str, ...], present: Any) -> str | None:
    """Return the first of `names` that is present."""
    return next((name for name in names if name in present), None)
