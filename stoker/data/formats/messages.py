"""Conversations of any dialect to canonical messages, with their structure checked.

A message is {"role", "content"} and, where they occur, "tool_calls", "tool_call_id", "name"; content is always a
string. What a chat template could silently drop or refuse (a null, an unknown role, two users in a row) is found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.data.findings import RowProblem, shown
from stoker.data.reading.strict_json import parse_inner
from stoker.data.rows import Message

_ROLE_OF = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "ipython": "tool",
}  # fmt: skip
_CALL_ROLES = frozenset({"function_call", "tool_call"})
_MAY_FOLLOW = {
    None: {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user"},
    "call": {"tool"},
    "tool": {"tool", "assistant"},
}


def normalise_messages(given: Any) -> list[Message]:
    """Return canonical messages of a list in the OpenAI dialect; RowProblem when it can't be trained on."""
    if not isinstance(given, list) or not given:
        raise RowProblem("no-messages", f"messages is {shown(given)}, not a list of turns")
    messages = [_message(number, turn) for number, turn in enumerate(given, 1)]
    _check_order(messages)
    return messages


def normalise_sharegpt(head: list[Message], given: Sequence[Any]) -> list[Message]:
    """Return canonical messages of {"from", "value"} turns; calls become tool_calls of an assistant turn."""
    messages = list(head)
    for number, turn in enumerate(given, 1):
        if not isinstance(turn, dict) or "from" not in turn or "value" not in turn:
            raise RowProblem("wrong-type", f"turn {number} is {shown(turn)}, not an object with from and value")
        role, value = turn["from"], turn["value"]
        if isinstance(role, str) and role in _CALL_ROLES:
            _add_calls(messages, _parse_calls(number, value))
        else:
            messages.append(_message(number, {"role": role, "content": value}))
    _check_order(messages)
    return messages


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
    if turn.get("weight") == 0:
        raise RowProblem("unsupported-weight", f"turn {number} has weight 0")
    calls = turn.get("tool_calls") if role == "assistant" else None
    if role == "assistant" and not calls and turn.get("function_call"):
        calls = [turn["function_call"]]
    message: Message = {"role": role, "content": _content(number, turn.get("content"), has_calls=bool(calls))}
    if calls:
        message["tool_calls"] = _tool_calls(number, calls)
    for key in ("tool_call_id", "name"):
        if isinstance(turn.get(key), str):
            message[key] = turn[key]
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


def _check_words(number: int, message: Message) -> None:
    if message["content"].strip() or message["role"] in ("tool", "system"):
        return
    if message["role"] == "user":
        raise RowProblem("empty-prompt", f"turn {number}, the user's, is empty")
    if "tool_calls" not in message:
        raise RowProblem("empty-answer", f"turn {number}, the assistant's, is empty")


def _check_order(messages: list[Message]) -> None:
    previous: str | None = None
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role not in _MAY_FOLLOW[previous]:
            before = {None: "the start", "call": "a tool call"}.get(previous, f"a {previous} turn")
            raise RowProblem("roles-out-of-order", f"turn {number} is the {role}'s, after {before}")
        previous = "call" if "tool_calls" in message else role
    if previous not in ("assistant", "call"):
        raise RowProblem("no-answer", f"the last turn is the {previous or 'missing'}'s, not the assistant's")


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
