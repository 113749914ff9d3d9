"""Plain chats, which most rows of most large files are, decoded straight to types, many lines at once.

A plain chat is {"messages": [{"role", "content"}, ...]} with no other key, words in every turn, and roles in an order that a
model can have. What is decoded here is what `recognise.convert_content` makes of the same line (a test compares them);
for whatever is anything else there is no answer, and the general way has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np

from stoker.data.formats.messages import is_sound
from stoker.data.rows import Content

_Words = Annotated[str, msgspec.Meta(min_length=1)]
_NEWLINE, _HEAD = 0x0A, b'{"m'


class Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What one side said."""

    role: Literal["system", "user", "assistant"]
    content: _Words


class _Asked(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["user"]
    content: _Words


class _Answered(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant"]
    content: _Words


class _Pair(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: tuple[_Asked, _Answered]


class _Chat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[Turn]


PlainChat = _Pair | _Chat
_PAIRS, _CHATS = msgspec.json.Decoder(_Pair), msgspec.json.Decoder(_Chat)
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)


def decode_lines(block: bytes) -> Sequence[PlainChat] | None:
    """Return the chats of whole lines, one a line; None unless every line is a plain chat."""
    num_lines = _count_heads(block)
    chats = _decode(block) if num_lines else None
    return chats if chats is not None and len(chats) == num_lines and not _has_blank(chats) else None


def decode_line(line: bytes) -> PlainChat | None:
    """Return the chat of a line, None when it is anything but a plain chat."""
    try:
        chat = _CHATS.decode(line)
    except _ERRORS:
        return None
    return chat if _is_sound(chat) and not _has_blank((chat,)) else None


def content_of(chat: PlainChat) -> Content:
    """Return what a chat says as the canonical content."""
    return Content(tuple([{"role": turn.role, "content": turn.content} for turn in chat.messages]))


def _decode(block: bytes) -> Sequence[PlainChat] | None:
    """Return the chats in a block, however they are laid out on its lines."""
    try:
        return _PAIRS.decode_lines(block)
    except _ERRORS:
        pass
    try:
        chats = _CHATS.decode_lines(block)
    except _ERRORS:
        return None
    return chats if all(map(_is_sound, chats)) else None


def _is_sound(chat: _Chat) -> bool:
    return is_sound(tuple([turn.role for turn in chat.messages]))


def _has_blank(chats: Sequence[PlainChat]) -> bool:
    for chat in chats:
        for turn in chat.messages:
            if turn.content.isspace():
                return True
    return False


def _count_heads(block: bytes) -> int:
    """Return the number of lines when every one of them begins as a chat does, otherwise 0.

    A line's end stands in no JSON string, and in no turn may a key begin like `messages`: so where a line begins so, a
    row begins. As many rows as lines are then one row a line.
    """
    if not block.startswith(_HEAD):
        return 0
    characters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(characters[: -len(_HEAD)] == _NEWLINE)
    is_head = all((characters[ends + place] == code).all() for place, code in enumerate(_HEAD, 1))
    return len(ends) + 1 if is_head else 0
