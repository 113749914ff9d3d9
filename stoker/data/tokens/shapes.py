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

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Filling:
    """A text with a place for the words of some messages: `format` for the % operator, `messages` their numbers."""

    format: str
    messages: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> _Filling:
        """Make it of a text with a mark for each message that stands there."""
        parts = _MARK.split(text)
        format = "%s".join(part.replace("%", "%%") for part in parts[0::2])
        return cls(format, tuple(map(int, parts[1::2])))

    def fill(self, words: Sequence[str]) -> str:
        return self.format % tuple([words[i] for i in self.messages])


@dataclass(frozen=True, slots=True)
class _ShapedTurn:
    prompt: _Filling
    answer: _Filling
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
        filled = [Turn(turn.prompt.fill(words), turn.answer.fill(words), turn.may_join) for turn in shape]
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
            for head in self._heads:
                if head in words and any(marker in words for marker in self._markers):
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
                    _ShapedTurn(_Filling.of(turn.prompt), _Filling.of(turn.answer), turn.may_join) for turn in turns
                ]
        return self._shapes[key]


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
