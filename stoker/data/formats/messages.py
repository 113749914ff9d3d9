"""Conversations of any dialect to canonical messages, with their structure checked.

A message is {"role", "content"} and, where they occur, "tool_calls", "tool_call_id", "name", and "weight": 0 for a turn
that is not trained; content is always a string. Reasoning in a field of its own becomes the answer's <think> part, as
models write it, so that no template drops it. What a chat template could silently drop or refuse (a null, an unknown
role, two users in a row) is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.data.findings import RowProblem, shown
from stoker.data.formats.keys import REASONING_KEYS, first_of
from stoker.data.reading.strict_json import parse_inner
from stoker.data.rows import Message

_ROLE_OF = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "ipython": "tool",
}  # fmt: skip
_SPEAKER_KEYS = ("from", "role", "speaker")
_WORDS_KEYS = ("value", "content", "text")
_USER_KEYS, _ASSISTANT_KEYS = ("human", "user", "question"), ("assistant", "gpt", "bot", "answer")
_CALL_ROLES = frozenset({"function_call", "tool_call"})
_MAY_FOLLOW = {
    None: {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user"},
    "call": {"tool"},
    "tool": {"tool", "assistant"},
}

# Orders of turns of nothing but role and words that were found sound: a file has few, and a set answers at once.
_sound: set[tuple[str, ...]] = set()
_MAX_SOUND = 1024


def normalise_messages(given: Any, what: str = "messages") -> list[Message]:
    """Return canonical messages of a list in the OpenAI dialect; RowProblem when it can't be trained on."""
    messages = read_messages(given, what)
    check_conversation(messages)
    return messages


def normalise_sharegpt(head: Sequence[Message], given: Any) -> list[Message]:
    """Return canonical messages of {"from", "value"} turns and their dialects, after those of `head`."""
    messages = [*head, *read_sharegpt(given)]
    check_conversation(messages)
    return messages


def read_messages(given: Any, what: str) -> list[Message]:
    """Return canonical messages, their order not checked."""
    if not isinstance(given, list) or not given:
        raise RowProblem("no-messages", f"{what} is {shown(given)}, not a list of turns")
    return [_plain(turn) or _message(number, turn) for number, turn in enumerate(given, 1)]


def _plain(turn: Any) -> Message | None:
    """Return the message of a turn of nothing but role and words, as most are; None for what must be looked at."""
    if type(turn) is dict and len(turn) == 2:
        role, words = turn.get("role"), turn.get("content")
        if type(words) is str and type(role) is str and role in _ROLE_OF and words and not words.isspace():
            return {"role": _ROLE_OF[role], "content": words}
    return None


def read_sharegpt(given: Sequence[Any]) -> list[Message]:
    """Return canonical messages of turns in ShareGPT's dialects; calls become tool_calls of an assistant turn.

    A turn is {"from", "value"}, {"role", "text"} and the like, or a pair {"human", "assistant"}.
    """
    messages: list[Message] = []
    for number, turn in enumerate(given, 1):
        if not isinstance(turn, dict):
            raise RowProblem("wrong-type", f"turn {number} is {shown(turn)}, not an object with from and value")
        role_key, value_key = first_of(_SPEAKER_KEYS, turn), first_of(_WORDS_KEYS, turn)
        if role_key is None or value_key is None:
            messages += _pair(number, turn)
            continue
        role, value = turn[role_key], turn[value_key]
        if isinstance(role, str) and role in _CALL_ROLES:
            _add_calls(messages, _parse_calls(number, value))
        else:
            messages.append(_message(number, {**turn, "role": role, "content": value}))
    return messages


def _pair(number: int, turn: Message) -> list[Message]:
    """Return the two messages of a turn that holds a question and its answer."""
    user, assistant = first_of(_USER_KEYS, turn), first_of(_ASSISTANT_KEYS, turn)
    if user is None or assistant is None:
        raise RowProblem("wrong-type", f"turn {number} is {shown(turn)}, not an object with from and value")
    pair = ({"role": "user", "content": turn[user]}, {"role": "assistant", "content": turn[assistant]})
    return [_message(number, message) for message in pair]


def normalise_tools(given: Any) -> list[dict[str, Any]] | None:
    """Return tool definitions as [{"type": "function", "function": {...}}], or None when there are none."""
    if isinstance(given, str):
        if not given.strip():
            return None
        given = parse_inner(given, "bad-tools", "tools")
    if not given:
        return None
    if not isinstance(given, list):
        raise RowProblem("bad-tools", f"tools is {shown(given)}, not a list")
    return [_tool(tool) for tool in given]


def _tool(tool: Any) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowProblem("bad-tools", f"a tool is {shown(tool)}, without a name")
    return {"type": "function", "function": function}


def _message(number: int, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise RowProblem("wrong-type", f"turn {number} is {shown(turn)}, not an object")
    given_role = turn.get("role")
    role = _ROLE_OF.get(given_role) if isinstance(given_role, str) else None
    if role is None:
        raise RowProblem("bad-role", f"turn {number} has the role {shown(given_role)}")
    calls = turn.get("tool_calls") if role == "assistant" else None
    if role == "assistant" and not calls and turn.get("function_call"):
        calls = [turn["function_call"]]
    message: Message = {"role": role, "content": _content(number, turn.get("content"), has_calls=bool(calls))}
    if calls:
        message["tool_calls"] = _tool_calls(number, calls)
    for key in ("tool_call_id", "name"):
        if isinstance(turn.get(key), str):
            message[key] = turn[key]
    if role == "assistant":
        _add_reasoning(number, message, turn)
        _add_weight(number, message, turn)
    _check_words(number, message)
    return message


def _content(number: int, content: Any, *, has_calls: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        if has_calls:
            return ""
        raise RowProblem("null-value", f"turn {number} has no content")
    if isinstance(content, list):
        return "".join(_part(number, part) for part in content)
    raise RowProblem("wrong-type", f"the content of turn {number} is {shown(content)}, not a string")


def _part(number: int, part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else part
    raise RowProblem("unsupported-part", f"turn {number} has a part of type {shown(kind)}")


def _add_reasoning(number: int, message: Message, turn: Message) -> None:
    key = first_of(REASONING_KEYS, turn)
    if key is None or turn[key] is None:
        return
    if not isinstance(turn[key], str):
        raise RowProblem("wrong-type", f"{key} of turn {number} is {shown(turn[key])}, not a string")
    message["content"] = with_reasoning(turn[key], message["content"])


def with_reasoning(reasoning: str, answer: str) -> str:
    """Return an answer with its reasoning before it, as reasoning models write both."""
    if not reasoning.strip() or "</think>" in answer:
        return answer
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{answer}"


def _add_weight(number: int, message: Message, turn: Message) -> None:
    """Keep weight 0 (`train`: false), by which a turn is read and not trained."""
    weight = turn.get("weight", turn.get("train"))
    if weight is None or weight == 1:
        return
    if weight != 0:
        raise RowProblem("bad-weight", f"turn {number} has the weight {shown(weight)}")
    message["weight"] = 0


def _check_words(number: int, message: Message) -> None:
    if message["content"].strip() or message["role"] in ("tool", "system"):
        return
    if message["role"] == "user":
        raise RowProblem("empty-prompt", f"turn {number}, the user's, is empty")
    if "tool_calls" not in message:
        raise RowProblem("empty-answer", f"turn {number}, the assistant's, is empty")


def check_conversation(messages: Sequence[Message]) -> None:
    """RowProblem unless the turns are in an order that a model can have, and end with an answer that is trained."""
    roles = tuple([message["role"] for message in messages if len(message) == 2])
    if len(roles) == len(messages) and roles in _sound:
        return
    previous = check_order(messages)
    if previous not in ("assistant", "call"):
        raise RowProblem("no-answer", f"the last turn is the {previous or 'missing'}'s, not the assistant's")
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        raise RowProblem("nothing-trained", "every turn of the assistant has weight 0")
    if len(roles) == len(messages) and len(_sound) < _MAX_SOUND:
        _sound.add(roles)


def is_sound(roles: tuple[str, ...]) -> bool:
    """Tell whether turns of nothing but these roles and words pass `check_conversation`."""
    if roles in _sound:
        return True
    try:
        check_conversation([{"role": role, "content": ""} for role in roles])
    except RowProblem:
        return False
    return True


def check_order(messages: Sequence[Message], previous: str | None = None) -> str | None:
    """RowProblem where a turn can't follow the one before it; return what the last one is."""
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role not in _MAY_FOLLOW[previous]:
            before = {None: "the start", "call": "a tool call"}.get(previous, f"a {previous} turn")
            raise RowProblem("roles-out-of-order", f"turn {number} is the {role}'s, after {before}")
        previous = "call" if "tool_calls" in message else role
    return previous


def _tool_calls(number: int, calls: Any) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise RowProblem("bad-tool-call", f"tool_calls of turn {number} is {shown(calls)}, not a list")
    return [_call(number, call) for call in calls]


def _parse_calls(number: int, value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        value = parse_inner(value, "bad-tool-call", f"turn {number}, a call,")
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise RowProblem("bad-tool-call", f"turn {number} is a list of no calls")
    return [_call(number, call) for call in calls]


def _call(number: int, call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowProblem("bad-tool-call", f"turn {number} has a call without a name: {shown(call)}")
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        what = f"the arguments string of turn {number}"
        arguments = parse_inner(arguments, "bad-tool-call", what) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise RowProblem("bad-tool-call", f"the arguments of turn {number} are {shown(arguments)}, not an object")
    canonical = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **canonical} if isinstance(call.get("id"), str) else canonical


def _add_calls(messages: list[Message], calls: list[dict[str, Any]]) -> None:
    """Add calls to the assistant's turn they follow, or as a turn of their own."""
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).extend(calls)
    else:
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
