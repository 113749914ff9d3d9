"""The canonical row: what every format becomes, and what training and evaluation read.

A row is a conversation (`messages`, with `tools` where there are some) or a plain `text`. Its id is a hash of that
content alone, so the same row has the same id in every file and format. It does not know which side it is on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Message = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Row:
    """One row; exactly one of `messages` and `text` is set. `line` is its line in the file it came from, from 1."""

    id: str
    line: int
    messages: tuple[Message, ...] | None = None
    text: str | None = None
    tools: tuple[dict[str, Any], ...] | None = None

    @classmethod
    def from_content(
        cls,
        line: int,
        messages: Sequence[Message] | None = None,
        text: str | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
    ) -> Row:
        """Make a row and its id from content."""
        return cls(
            id=row_id(messages, text, tools),
            line=line,
            messages=None if messages is None else tuple(messages),
            text=text,
            tools=tuple(tools) if tools else None,
        )

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Row:
        """Read a record of rows.jsonl or heldout.jsonl."""
        messages, tools = record.get("messages"), record.get("tools")
        return cls(
            id=record["id"],
            line=record["line"],
            messages=None if messages is None else tuple(messages),
            text=record.get("text"),
            tools=tuple(tools) if tools else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record of rows.jsonl."""
        return {"id": self.id, "line": self.line, **_content(self.messages, self.text, self.tools)}

    def prompt_messages(self) -> list[Message]:
        """Return every message before the last assistant turn; [] for plain text."""
        return [] if self.messages is None else list(self.messages[: self._last_assistant()])

    def answer(self) -> str:
        """Return the last assistant turn's text ("" when it only calls tools); the whole text of plain text."""
        if self.messages is None:
            return self.text or ""
        return str(self.messages[self._last_assistant()]["content"])

    def _last_assistant(self) -> int:
        assert self.messages is not None
        return max(i for i, message in enumerate(self.messages) if message["role"] == "assistant")


def row_id(
    messages: Sequence[Message] | None, text: str | None = None, tools: Sequence[dict[str, Any]] | None = None
) -> str:
    """Return 16 hex digits of the SHA-256 over the canonical JSON of a row's content (sorted keys)."""
    content = orjson.dumps(_content(messages, text, tools), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()[:16]


def _content(
    messages: Sequence[Message] | None, text: str | None, tools: Sequence[dict[str, Any]] | None
) -> dict[str, Any]:
    if messages is None:
        return {"text": text}
    content: dict[str, Any] = {"messages": list(messages)}
    if tools:
        content["tools"] = list(tools)
    return content
