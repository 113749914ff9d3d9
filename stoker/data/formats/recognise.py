"""Which known format a row is in, told from its keys, and its conversion to the canonical row.

Recognition depends on the set of keys (and on whether a label is a yes or no) and is cached per set, so that a file of a
million rows decides once. Words are never changed: parts are joined, aliases are renamed, nothing is stripped or rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import orjson

from stoker.data.findings import RowProblem, shown
from stoker.data.formats.keys import (
    ANSWER_KEYS,
    CHOSEN_KEYS,
    CONTEXT_KEYS,
    CONVERSATION_KEYS,
    LABEL_KEYS,
    QUESTION_KEYS,
    REASONING_KEYS,
    REJECTED_KEYS,
    SYSTEM_KEYS,
    canonical_names,
    first_of,
)
from stoker.data.formats.messages import (
    check_conversation,
    normalise_messages,
    normalise_tools,
    read_messages,
    read_sharegpt,
    with_reasoning,
)
from stoker.data.formats.preference import labelled_content, pair_content
from stoker.data.rows import Content, Message, Row

Format = Literal["messages", "sharegpt", "alpaca", "prompt-completion", "query-response", "preference", "kto", "text"]
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A format as it appears in one set of keys: its name, how to convert, and the keys that are used and not used."""

    format: Format
    convert: Callable[[Record], Content]
    used: tuple[str, ...]
    unused: tuple[str, ...]


_shapes: dict[tuple[tuple[str, ...], bool], Shape | None] = {}
_MAX_CACHED_SHAPES = 4096


def shape_of(record: Record) -> Shape | None:
    """Return the format of a record with canonical names, or None when its keys are not known."""
    key = tuple(record), _has_label(record)
    try:
        return _shapes[key]
    except KeyError:
        if len(_shapes) >= _MAX_CACHED_SHAPES:
            _shapes.clear()
        shape = _shapes[key] = _recognise(*key)
        return shape


def _has_label(record: Record) -> bool:
    for name in LABEL_KEYS:
        if name in record:
            return isinstance(record[name], bool)
    return False


def is_known_shape(record: Record) -> bool:
    """Tell whether a JSON object is a row by itself."""
    return shape_of(canonical_names(record)) is not None


def convert(value: Any, line: int) -> tuple[Row, Shape]:
    """Return the canonical row of a JSON value and its format; RowProblem when it can't be used."""
    content, shape = convert_content(value)
    return Row.of(line, content), shape


def convert_content(value: Any) -> tuple[Content, Shape]:
    """Return what a JSON value says, without an id, and its format; RowProblem when it can't be used."""
    if not isinstance(value, dict):
        raise RowProblem("not-object", f"the row is {shown(value)}, not an object")
    record = canonical_names(value)
    shape = shape_of(record)
    try:
        if shape is None:
            keys = ", ".join(map(str, list(value)[:12])) or "none"
            raise RowProblem("unknown-keys", f"keys {keys} are no known format")
        return shape.convert(record), shape
    except RowProblem:
        filled = _without_nulls(record)
        other = None if filled is None else shape_of(filled)
        if filled is None or other is None or (shape is not None and other.format == shape.format):
            raise
        return other.convert(filled), other


def _without_nulls(record: Record) -> Record | None:
    """Return the record without its nulls, None when it has none: a table of several formats has a null in every row."""
    filled = {key: value for key, value in record.items() if value is not None}
    return filled if len(filled) < len(record) else None


def _recognise(keys: tuple[str, ...], has_label: bool) -> Shape | None:
    found = _preference(keys) or (_labelled(keys) if has_label else None) or _supervised(keys)
    if found is None:
        return None
    format, converter, used = found
    present = [key for key in used if key in keys]
    return Shape(format, converter, tuple(dict.fromkeys(present)), tuple(sorted(set(keys) - set(used))))


_Found = tuple[Format, Callable[[Record], Content], tuple[str, ...]]


def _preference(keys: tuple[str, ...]) -> _Found | None:
    rejected, chosen = first_of(REJECTED_KEYS, keys), first_of(CHOSEN_KEYS, keys)
    if rejected is None:
        return None
    conversation, question = first_of(CONVERSATION_KEYS, keys), first_of(QUESTION_KEYS, keys)
    context = first_of(("input", *CONTEXT_KEYS), keys) if question == "instruction" else None
    answer = chosen or first_of(ANSWER_KEYS, keys)
    if answer is None and conversation is None:
        return None
    convert = partial(_from_pair, conversation, question, context, answer, rejected)
    used = (*SYSTEM_KEYS, "tools", *(key for key in (conversation, question, context, answer, rejected) if key))
    return "preference", convert, used


def _labelled(keys: tuple[str, ...]) -> _Found | None:
    label = first_of(LABEL_KEYS, keys)
    inner = _supervised(tuple(key for key in keys if key != label))
    if label is None or inner is None or inner[0] == "text":
        return None
    return "kto", partial(_from_labelled, inner[1], label), (*inner[2], label)


def _supervised(keys: tuple[str, ...]) -> _Found | None:
    conversation = first_of(CONVERSATION_KEYS, keys)
    if conversation == "messages":
        return "messages", _from_messages, ("messages", "tools", "functions")
    if conversation:
        used = (conversation, *SYSTEM_KEYS, "tools", "functions")
        return "sharegpt", partial(_from_sharegpt, conversation), used
    answer = first_of(ANSWER_KEYS, keys)
    reasoning = first_of(REASONING_KEYS, keys)
    shared = (*SYSTEM_KEYS, *((reasoning,) if reasoning else ()))
    if "instruction" in keys and answer and answer not in ("solution", "text"):
        context = first_of(("input", *CONTEXT_KEYS), keys)
        used = ("instruction", answer, context or "instruction", "history", *shared)
        return "alpaca", partial(_from_alpaca, context, answer, reasoning), used
    if "prompt" in keys and "completion" in keys:
        used = ("prompt", "completion", "tools", "functions", *shared)
        return "prompt-completion", partial(_from_prompt_completion, reasoning), used
    question = first_of(QUESTION_KEYS, keys)
    if question and answer:
        context = first_of(CONTEXT_KEYS, keys)
        used = (question, answer, context or question, *shared)
        return "query-response", partial(_from_question, question, answer, context, reasoning), used
    return ("text", _from_text, ("text",)) if "text" in keys else None


def _from_messages(record: Record) -> Content:
    return _chat(normalise_messages(record["messages"]), _tools(record))


def _from_sharegpt(key: str, record: Record) -> Content:
    turns = [*_system_messages(record), *_turns(record[key], key)]
    check_conversation(turns)
    return _chat(turns, _tools(record))


def _from_alpaca(context: str | None, answer: str, reasoning: str | None, record: Record) -> Content:
    turns = _system_messages(record)
    for pair in record.get("history") or []:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise RowProblem("wrong-type", f"history holds {shown(pair)}, not a pair of question and answer")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    turns += [
        {"role": "user", "content": _instruction(record, context)},
        {"role": "assistant", "content": _answer(record, answer, reasoning)},
    ]
    return _chat(normalise_messages(turns))


def _from_prompt_completion(reasoning: str | None, record: Record) -> Content:
    prompt, completion = record["prompt"], record["completion"]
    turns = _system_messages(record)
    turns += prompt if isinstance(prompt, list) else [{"role": "user", "content": _string(record, "prompt")}]
    if isinstance(completion, list):
        turns += completion
    else:
        turns.append({"role": "assistant", "content": _answer(record, "completion", reasoning)})
    return _chat(normalise_messages(turns), _tools(record))


def _from_question(question: str, answer: str, context: str | None, reasoning: str | None, record: Record) -> Content:
    prompt = _string(record, question)
    if context is not None and (given := _string(record, context, is_optional=True)).strip():
        prompt = f"{given}\n\n{prompt}"
    turns = _system_messages(record)
    turns += [
        {"role": "user", "content": prompt}, {"role": "assistant", "content": _answer(record, answer, reasoning)}
    ]  # fmt: skip
    return _chat(normalise_messages(turns))


def _from_pair(
    conversation: str | None,
    question: str | None,
    context: str | None,
    answer: str | None,
    rejected: str,
    record: Record,
) -> Content:
    prompt = _system_messages(record)
    given = record.get(answer) if answer else None
    if conversation and record[conversation]:
        prompt += _turns(record[conversation], conversation)
        if answer is None:  # the conversation's own last turn is the chosen answer
            given = [prompt.pop()]
    elif question and (asked := record[question]) is not None:
        is_turns = isinstance(asked, list)
        prompt += read_messages(asked, question) if is_turns else [_user(record, question, context)]
    return pair_content(prompt, given, record[rejected], _tools(record), (answer or "the last turn", rejected))


def _from_labelled(convert: Callable[[Record], Content], label: str, record: Record) -> Content:
    content = convert(record)
    return labelled_content(content.messages or (), record[label], content.tools)


def _from_text(record: Record) -> Content:
    text = _string(record, "text")
    if not text.strip():
        raise RowProblem("empty-text", "text is empty")
    return Content(text=text)


def _chat(messages: list[Message], tools: list[dict[str, Any]] | None = None) -> Content:
    return Content(tuple(messages), tools=tuple(tools) if tools else None)


def _tools(record: Record) -> list[dict[str, Any]] | None:
    given = record.get("tools") or record.get("functions")
    return normalise_tools(given) if given else None


def _turns(conversation: Any, key: str) -> list[Message]:
    if isinstance(conversation, list) and conversation and isinstance(conversation[0], dict):
        return read_sharegpt(conversation)
    raise RowProblem("no-messages", f"{key} is {shown(conversation)}, not a list of turns")


def _user(record: Record, question: str, context: str | None) -> Message:
    words = _instruction(record, context) if question == "instruction" else _string(record, question)
    if not words.strip():
        raise RowProblem("empty-prompt", f"{question} is empty")
    return {"role": "user", "content": words}


def _instruction(record: Record, context: str | None) -> str:
    prompt = _string(record, "instruction", is_optional=True)
    if context is not None and (extra := _string(record, context, is_optional=True)).strip():
        return f"{prompt}\n{extra}" if prompt.strip() else extra
    return prompt


def _system_messages(record: Record) -> list[Message]:
    key = first_of(SYSTEM_KEYS, record)
    system = _string(record, key, is_optional=True) if key else ""
    return [{"role": "system", "content": system}] if system.strip() else []


def _string(record: Record, key: str, *, is_optional: bool = False) -> str:
    value = record.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        if is_optional:
            return ""
        raise RowProblem("null-value", f"{key} is null")
    raise RowProblem("wrong-type", f"{key} is {shown(value)}, not a string")


def _answer(record: Record, key: str, reasoning: str | None) -> str:
    """Return an answer as text: a string, a number as JSON writes it, or the first of a list of accepted answers."""
    value = record[key]
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list):
        if not value:
            raise RowProblem("empty-answer", f"{key} is an empty list")
        value = value[0]
    if value is None:
        raise RowProblem("null-value", f"{key} is null")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = orjson.dumps(value).decode()
    if not isinstance(value, str):
        raise RowProblem("wrong-type", f"{key} is {shown(value)}, not a string")
    if not value.strip():
        raise RowProblem("empty-answer", f"{key} is empty")
    return with_reasoning(_string(record, reasoning, is_optional=True), value) if reasoning else value
