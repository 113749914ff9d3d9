"""Prompts from the command line, a file or standard input, as conversations.

A text file has a prompt on each line; JSON lines hold `prompt` (and maybe `system`) or `messages`, and may have an `id`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.errors import InvalidInput, NotFound, UsageError

_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation to answer. `given` is what stood in the file, without what is not a question."""

    messages: tuple[dict[str, Any], ...]
    given: dict[str, Any]

    @property
    def shown(self) -> str:
        return str(self.messages[-1]["content"])


def from_options(texts: list[str], system: str) -> list[Prompt]:
    """Return the prompts of `--prompt`."""
    return [_of_text(text, system, "--prompt") for text in texts]


def from_stdin(system: str) -> list[Prompt]:
    """Return all of standard input as one prompt."""
    if sys.stdin.isatty():
        raise UsageError("no prompt", "", 'add: --prompt "..." or --file FILE')
    text = _decoded(sys.stdin.buffer.read(), "standard input").strip("\n")
    return [_of_text(text, system, "standard input")]


def from_file(path: Path, system: str) -> list[Prompt]:
    """Return the prompts of a file, "-" for standard input; InvalidInput names the line that can't be used."""
    if str(path) == "-":
        place, content = "standard input", sys.stdin.buffer.read()
    elif path.is_file():
        place, content = str(path), path.read_bytes()
    else:
        raise NotFound(f"there is no file {path}", "", "check the path")
    lines = _decoded(content, place).removeprefix("\ufeff").split("\n")
    first = next((line for line in lines if line.strip()), "")
    is_json = path.suffix.lower() in _JSON_SUFFIXES or (str(path) == "-" and first.lstrip().startswith("{"))
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{place}, line {number}"
            found.append(_of_record(line, system, where) if is_json else _of_text(line.rstrip("\r"), system, where))
    if not found:
        raise InvalidInput(f"{place} holds no prompt", "", "a text file has one on each line")
    return found


def _of_text(text: str, system: str, where: str) -> Prompt:
    messages = ({"role": "system", "content": system},) if system else ()
    _check_text(text, where)
    return Prompt((*messages, {"role": "user", "content": text}), {"prompt": text})


def _of_record(line: str, system: str, where: str) -> Prompt:
    import orjson

    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{where} is not JSON ({error})", "", "mend the line") from None
    if not isinstance(record, dict):
        raise InvalidInput(f"{where} holds no object", "a line is an object", 'for example {"prompt": "..."}')
    identity = {"id": record["id"]} if "id" in record else {}
    if "messages" in record:
        messages = _checked(record["messages"], where)
        if system and messages[0]["role"] != "system":
            messages = ({"role": "system", "content": system}, *messages)
        return Prompt(messages, {**identity, "messages": record["messages"]})
    if not isinstance(record.get("prompt"), str):
        keys = ", ".join(record) or "nothing"
        raise InvalidInput(f"{where} has no prompt (it has {keys})", "", 'for example {"prompt": "..."}')
    own = record.get("system")
    if own is not None and not isinstance(own, str):
        raise InvalidInput(f"{where}: system is {own!r}"[:200], "it is a text", "mend the line")
    prompt = _of_text(record["prompt"], own or system, where)
    return Prompt(prompt.messages, {**identity, **prompt.given})


def _checked(messages: Any, where: str) -> tuple[dict[str, Any], ...]:
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise InvalidInput(f"{where}: messages is no list of objects", "", 'each has "role" and "content"')
    for each in messages:
        if each.get("role") not in _ROLES or not isinstance(each.get("content"), str):
            raise InvalidInput(
                f"{where}: a message is {each!r}"[:200], f"its role is one of {', '.join(_ROLES)}, its content a text", "mend it"
            )  # fmt: skip
    if messages[-1]["role"] not in ("user", "tool"):
        raise InvalidInput(f"{where}: the last message is the {messages[-1]['role']}'s", "it is what is answered",
                           "end with the user's")  # fmt: skip
    _check_text(messages[-1]["content"], where)
    return tuple(messages)


def _check_text(text: str, where: str) -> None:
    if not text.strip():
        raise InvalidInput(f"the prompt of {where} is empty", "there is nothing to answer", "write one")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"the prompt of {where} is not UTF-8", "", "convert it") from None


def _decoded(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidInput(f"{place}, line {line} is not UTF-8", f"byte {error.start:,}", "convert it") from None
