"""Conversations of one shape rendered once: the template's text around their words, filled in for each row.

Rendering is the dearest part of measuring a row, and rows of one sequence of roles differ only in their words. So a shape is
rendered with marks in place of words. That this equals rendering is compared on the first rows of a shape and on a sample of all
that follow; rows whose words the template might look into (its own markers, white space at an end) are always rendered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jinja2.nodes

from stoker.data.rows import Message, Row
from stoker.data.tokens.chat import Chat
from stoker.data.tokens.layout import Turn, render_turns
from stoker.errors import DataError

FIRST_ROWS = 32
SAMPLE_EVERY = 512
MAX_SHAPES = 512
_MARK = re.compile("\ue000([0-9]+)\ue001")
_PLAIN = {"role", "content"}

Segments = tuple[str | int, ...]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _ShapedTurn:
    prompt: Segments
    answer: Segments
    may_join: bool


class Shapes:
    """Renders the turns of rows. `is_doubted`: a sample was not what filling in had made of it, so earlier rows may be wrong."""

    def __init__(self, chat: Chat) -> None:
        self.is_doubted = False
        self._chat = chat
        self._shapes: dict[Key, list[_ShapedTurn] | None] = {}
        self._num_rows: Counter[Key] = Counter()
        self._markers = _markers(chat)
        self._heads = sorted({marker[0] for marker in self._markers})

    def turns(self, row: Row) -> list[Turn]:
        """Return the trained turns of a row, as `render_turns` would; DataError when the template refuses it."""
        key = None if row.tools else self._key(row.messages or ())
        shape = self._shape(key, row) if key is not None else None
        if key is None or shape is None:
            return render_turns(row, self._chat)
        words = [message["content"] for message in row.messages or ()]
        filled = [Turn(_fill(turn.prompt, words), _fill(turn.answer, words), turn.may_join) for turn in shape]
        number = self._num_rows[key]
        self._num_rows[key] = number + 1
        if number >= FIRST_ROWS and number % SAMPLE_EVERY:
            return filled
        rendered = render_turns(row, self._chat)
        if rendered != filled:
            self._shapes[key] = None
            self.is_doubted = self.is_doubted or number > 0
        return rendered

    def _key(self, messages: Sequence[Message]) -> Key | None:
        """Return the roles of messages that are nothing but roles and words, None when a template might look closer."""
        for message in messages:
            words = message["content"]
            if len(message) != 2 or not words or words[0].isspace() or words[-1].isspace():
                return None
            if any(head in words for head in self._heads) and any(marker in words for marker in self._markers):
                return None
        return tuple([message["role"] for message in messages])

    def _shape(self, key: Key, row: Row) -> list[_ShapedTurn] | None:
        if key not in self._shapes:
            if len(self._shapes) >= MAX_SHAPES:
                return None
            marked = tuple({"role": role, "content": f"\ue000{i}\ue001"} for i, role in enumerate(key))
            try:
                turns = render_turns(Row.from_content(row.line, marked), self._chat)
            except DataError:
                self._shapes[key] = None
            else:
                self._shapes[key] = [
                    _ShapedTurn(_segments(turn.prompt), _segments(turn.answer), turn.may_join) for turn in turns
                ]
        return self._shapes[key]


def _segments(text: str) -> Segments:
    """Return the text with each mark as the number of the message that stands there."""
    parts = _MARK.split(text)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts) if part)


def _fill(segments: Segments, words: Sequence[str]) -> str:
    return "".join([words[part] if isinstance(part, int) else part for part in segments])


def _markers(chat: Chat) -> list[str]:
    """Return what a template searches its messages for, as far as it says so, and the special tokens."""
    tree = chat.templates.plain.environment.parse(chat.templates.source)
    found: set[str] = set(chat.vocabulary.special)
    for compare in tree.find_all(jinja2.nodes.Compare):
        if any(operand.op in ("in", "notin") for operand in compare.ops):
            found |= _strings([compare.expr])
    for call in tree.find_all((jinja2.nodes.Call, jinja2.nodes.Filter, jinja2.nodes.Test)):
        found |= _strings(getattr(call, "args", ()))
    return sorted(marker for marker in found if marker.strip())


def _strings(nodes: Iterable[jinja2.nodes.Node]) -> set[str]:
    return {node.value for node in nodes if isinstance(node, jinja2.nodes.Const) and isinstance(node.value, str)}
