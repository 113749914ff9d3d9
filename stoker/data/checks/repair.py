"""Text that was decoded with the wrong encoding, put right: by ftfy, only where its heuristic is sure of the damage."""

from __future__ import annotations

from collections.abc import Iterable

from ftfy import fix_encoding
from ftfy.badness import is_bad
from msgspec import structs

from stoker.data.rows import Content, Message, Messages


def repaired(content: Content) -> Content:
    """Return the content with its texts repaired; the same object when nothing was wrong."""
    fixed = structs.replace(
        content,
        text=None if content.text is None else _fixed(content.text),
        messages=_fixed_turns(content.messages),
        chosen=_fixed_turns(content.chosen),
        rejected=_fixed_turns(content.rejected),
    )
    return content if fixed == content else fixed


def _fixed_turns(turns: Iterable[Message] | None) -> Messages | None:
    if turns is None:
        return None
    return tuple({**turn, "content": _fixed(turn["content"])} for turn in turns)


def _fixed(text: str) -> str:
    return fix_encoding(text) if not text.isascii() and is_bad(text) else text
