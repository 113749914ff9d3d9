"""Which known format a row is in, told from its keys, and its conversion to the canonical row.

Recognition depends on the set of keys alone and is cached per set, so that a file of a million rows decides once.
Words are never changed: parts are joined, aliases are renamed, nothing is stripped or rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from stoker.data.findings import RowProblem, shown
from stoker.data.formats.messages import normalise_messages, normalise_sharegpt, normalise_tools
from stoker.data.rows import Message, Row

QUESTION_KEYS = ("question", "query", "instruction", "input", "problem", "prompt")
ANSWER_KEYS = ("answer", "answers", "response", "output", "completion", "target", "solution")
CONTEXT_KEYS = ("context", "passage", "document")
REJECTED_KEYS = frozenset({"rejected", "rejected_response", "response_rejected", "answer_rejected"})
KNOWN_SHAPES = (
    "messages; conversations; instruction, input, output; prompt, completion; question, answer; text"
    f" (questions: {', '.join(QUESTION_KEYS)}; answers: {', '.join(ANSWER_KEYS)})"
)

Record = Mapping[str, Any]
Content = tuple[list[Message] | None, str | None, list[dict[str, Any]] | None]


@dataclass(frozen=True, slots=True)
class Shape:
    """A format as it appears in one set of keys: its name, how to convert, and the keys that are not used."""

    format: str
    convert: Callable[[Record], Content]
    unused: tuple[str, ...]


_shapes: dict[tuple[str, ...], Shape | None] = {}
_MAX_CACHED_SHAPES = 4096


def shape_of(record: Record) -> Shape | None:
    """Return the format of a record, or None when its keys are not known."""
    keys = tuple(record)
    try:
        return _shapes[keys]
    except KeyError:
        if len(_shapes) >= _MAX_CACHED_SHAPES:
            _shapes.clear()
        shape = _shapes[keys] = _recognise(keys)
        return shape


def is_known_shape(record: Record) -> bool:
    """Tell whether a JSON object is a row by itself."""
    return shape_of(record) is not None


def convert(value: Any, line: int) -> tuple[Row, Shape]:
    """Return the canonical row of a JSON value and its format; RowProblem when it can't be trained on."""
    if not isinstance(value, dict):
        raise RowProblem("not-object", f"the row is {shown(value)}, not an object")
    shape = shape_of(value)
    if shape is None:
        raise RowProblem("unknown-keys", f"keys {', '.join(map(str, list(value)[:12])) or 'none'} are no known format")
    messages, text, tools = shape.convert(value)
    return Row.from_content(line, messages, text, tools), shape


def _recognise(keys: tuple[str, ...]) -> Shape | None:
    present = set(keys)

    def shape(name: str, converter: Callable[[Record], Content], *used: str) -> Shape:
        return Shape(name, converter, tuple(sorted(present - set(used))))

    if REJECTED_KEYS & present:
        return shape("preference", _refuse_preference, *keys)
    if "messages" in present:
        return shape("messages", _from_messages, "messages", "tools")
    for key in ("conversations", "conversation"):
        if key in present:
            return shape("sharegpt", partial(_from_sharegpt, key), key, "system", "tools")
    answer = next((key for key in ANSWER_KEYS if key in present), None)
    if "instruction" in present and answer and answer != "solution":
        context = next((key for key in ("input", *CONTEXT_KEYS) if key in present), None)
        used = ("instruction", answer, context or "instruction", "system", "history")
        return shape("alpaca", partial(_from_alpaca, context, answer), *used)
    if "prompt" in present and "completion" in present:
        return shape("prompt-completion", _from_prompt_completion, "prompt", "completion", "system", "tools")
    question = next((key for key in QUESTION_KEYS if key in present), None)
    if question and answer:
        context = next((key for key in CONTEXT_KEYS if key in present), None)
        converter = partial(_from_question, question, answer, context)
        return shape("question-answer", converter, question, answer, context or question, "system")
    if "text" in present:
        return shape("text", _from_text, "text")
    return None


def _refuse_preference(record: Record) -> Content:
    raise RowProblem("preference-pair", "a pair of chosen and rejected answers; preference data is not trained on")


def _from_messages(record: Record) -> Content:
    return normalise_messages(record["messages"]), None, normalise_tools(record.get("tools"))


def _from_sharegpt(key: str, record: Record) -> Content:
    turns = _system_messages(record)
    conversation = record[key]
    if isinstance(conversation, list) and conversation and isinstance(conversation[0], dict):
        is_openai = "role" in conversation[0]
        messages = normalise_messages(turns + conversation) if is_openai else normalise_sharegpt(turns, conversation)
        return messages, None, normalise_tools(record.get("tools"))
    raise RowProblem("no-messages", f"{key} is {shown(conversation)}, not a list of turns")


def _from_alpaca(context: str | None, answer: str, record: Record) -> Content:
    prompt = _string(record, "instruction", is_optional=True)
    if context is not None and (extra := _string(record, context, is_optional=True)).strip():
        prompt = f"{prompt}\n{extra}" if prompt.strip() else extra
    turns = _system_messages(record)
    for pair in record.get("history") or []:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise RowProblem("wrong-type", f"history holds {shown(pair)}, not a pair of question and answer")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": _answer(record, answer)}]
    return normalise_messages(turns), None, None


def _from_prompt_completion(record: Record) -> Content:
    prompt, completion = record["prompt"], record["completion"]
    turns = _system_messages(record)
    turns += prompt if isinstance(prompt, list) else [{"role": "user", "content": _string(record, "prompt")}]
    if isinstance(completion, list):
        turns += completion
    else:
        turns.append({"role": "assistant", "content": _answer(record, "completion")})
    return normalise_messages(turns), None, normalise_tools(record.get("tools"))


def _from_question(question: str, answer: str, context: str | None, record: Record) -> Content:
    prompt = _string(record, question)
    if context is not None and (given := _string(record, context, is_optional=True)).strip():
        prompt = f"{given}\n\n{prompt}"
    turns = _system_messages(record)
    turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": _answer(record, answer)}]
    return normalise_messages(turns), None, None


def _from_text(record: Record) -> Content:
    text = _string(record, "text")
    if not text.strip():
        raise RowProblem("empty-text", "text is empty")
    return None, text, None


def _system_messages(record: Record) -> list[Message]:
    system = _string(record, "system", is_optional=True)
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


def _answer(record: Record, key: str) -> str:
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
        return orjson.dumps(value).decode()
    if not isinstance(value, str):
        raise RowProblem("wrong-type", f"{key} is {shown(value)}, not a string")
    if not value.strip():
        raise RowProblem("empty-answer", f"{key} is empty")
    return value
