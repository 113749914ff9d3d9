"""The canonical row: what every format becomes, and what training and evaluation read.

A row is a conversation (`messages`, with `tools` where there are some), a plain `text`, a preference pair (`messages` up to
the answer, then `chosen` and `rejected`) or a labelled answer (`messages` with a `label`). Its id is a hash of that content
alone, so the same row has the same id in every file and format. It does not know which side it is on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import orjson

Message = dict[str, Any]
Messages = tuple[Message, ...]
RowKind = Literal["chat", "text", "preference", "kto"]

ROLES = ("system", "user", "assistant", "tool")
TRAINED_KINDS: tuple[RowKind, ...] = ("chat", "text")


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a row says, without where it came from. Either `text` or `messages` is set.

    With `chosen` and `rejected` (a turn or more of the assistant) `messages` is their prompt; `label` says of a whole
    conversation whether its answer is wanted.
    """

    messages: Messages | None = None
    text: str | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    chosen: Messages | None = None
    rejected: Messages | None = None
    label: bool | None = None

    def to_json(self) -> dict[str, Any]:
        if self.messages is None:
            return {"text": self.text}
        record: dict[str, Any] = {"messages": self.messages}
        if self.tools:
            record["tools"] = self.tools
        if self.chosen is not None:
            record |= {"chosen": self.chosen, "rejected": self.rejected}
        if self.label is not None:
            record["label"] = self.label
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Content:
        def listed(key: str) -> Any:
            value = record.get(key)
            return tuple(value) if value is not None else None

        return cls(
            listed("messages"), record.get("text"), listed("tools") or None, listed("chosen"), listed("rejected"),
            record.get("label"),
        )  # fmt: skip


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row. `line` is its line in the file it came from, from 1."""

    id: str
    line: int
    content: Content

    @classmethod
    def of(cls, line: int, content: Content) -> Row:
        """Make a row and its id: 16 hex digits of the SHA-256 over the canonical JSON of its content (sorted keys)."""
        canonical = orjson.dumps(content.to_json(), option=orjson.OPT_SORT_KEYS)
        return cls(hashlib.sha256(canonical).hexdigest()[:16], line, content)

    @classmethod
    def from_content(
        cls,
        line: int,
        messages: Sequence[Message] | None = None,
        text: str | None = None,
        tools: Sequence[dict[str, Any]] | None = None,
    ) -> Row:
        """Make a row of a conversation or of plain text."""
        return cls.of(line, Content(None if messages is None else tuple(messages), text, tuple(tools or ()) or None))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Row:
        """Read a record of a dataset's files of rows."""
        return cls(record["id"], record["line"], Content.from_json(record))

    @property
    def kind(self) -> RowKind:
        content = self.content
        if content.messages is None:
            return "text"
        return "preference" if content.chosen is not None else "chat" if content.label is None else "kto"

    @property
    def messages(self) -> Messages | None:
        return self.content.messages

    @property
    def text(self) -> str | None:
        return self.content.text

    @property
    def tools(self) -> tuple[dict[str, Any], ...] | None:
        return self.content.tools

    def to_json(self) -> dict[str, Any]:
        """Return the record of a dataset's files of rows."""
        return {"id": self.id, "line": self.line, **self.content.to_json()}

    def trained_turns(self) -> list[int]:
        """Return the places of the assistant turns that are trained: all but those of weight 0."""
        turns = enumerate(self.messages or ())
        return [i for i, turn in turns if turn["role"] == "assistant" and turn.get("weight") != 0]

    def prompt_messages(self) -> list[Message]:
        """Return every message before the last assistant turn, or before a pair's answers; [] for plain text."""
        if self.messages is None:
            return []
        return list(self.messages if self.content.chosen is not None else self.messages[: self._last_assistant()])

    def answer_messages(self) -> list[Message]:
        """Return what `prompt_messages` leaves: the answer, of a pair the chosen one; [] for plain text."""
        if self.content.chosen is not None:
            return list(self.content.chosen)
        return [] if self.messages is None else list(self.messages[self._last_assistant() :])

    def answer(self) -> str:
        """Return the answer's first text ("" when it only calls tools); the whole text of plain text."""
        content = self.content
        if content.messages is None:
            return content.text or ""
        turn = content.messages[self._last_assistant()] if content.chosen is None else content.chosen[0]
        return str(turn["content"])

    def _last_assistant(self) -> int:
        messages = self.content.messages
        assert messages is not None
        place = len(messages) - 1
        while messages[place]["role"] != "assistant":
            place -= 1
        return place
