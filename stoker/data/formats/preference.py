"""Pairs of a chosen and a rejected answer, and answers with a label: checked and kept; supervised training skips them.

A prompt may stand beside the pair, or be what both conversations begin with (implicit), turns or "\\n\\nHuman: ..." text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.data.findings import RowProblem, shown
from stoker.data.formats.messages import check_conversation, check_order, read_sharegpt
from stoker.data.rows import Content, Message

_TRANSCRIPT = re.compile(r"\n\n(Human|Assistant): ?")


def pair_content(
    prompt: list[Message], chosen: Any, rejected: Any, tools: Sequence[dict[str, Any]] | None, names: tuple[str, str]
) -> Content:
    """Return the content of a preference pair; `prompt` may be empty, then it is what both answers begin with."""
    ours, theirs = (_answer(value, name) for value, name in zip((chosen, rejected), names, strict=True))
    if prompt == ours:
        prompt = []
    shared = _shared(ours, theirs)
    if shared and (not prompt or ours[:shared] == prompt):
        prompt, ours, theirs = ours[:shared], ours[shared:], theirs[shared:]
    if not prompt:
        raise RowProblem("no-prompt", f"there is no prompt, and {names[0]} and {names[1]} begin with no common one")
    before = check_order(prompt)
    if before not in ("user", "tool"):
        raise RowProblem(
            "roles-out-of-order", f"the prompt ends with {'nothing' if before is None else f'a {before} turn'}"
        )
    for answer, name in ((ours, names[0]), (theirs, names[1])):
        if not answer:
            raise RowProblem("empty-answer", f"{name} is empty")
        check_order(answer, before)
        check_conversation([*prompt, *answer])
    if ours == theirs:
        raise RowProblem("same-answers", f"{names[0]} and {names[1]} are the same")
    return Content(tuple(prompt), None, tuple(tools or ()) or None, tuple(ours), tuple(theirs))


def labelled_content(messages: Sequence[Message], label: bool, tools: Sequence[dict[str, Any]] | None) -> Content:
    """Return the content of a conversation whose answer is labelled as wanted or not."""
    check_conversation(messages)
    return Content(tuple(messages), None, tuple(tools or ()) or None, label=label)


def _answer(value: Any, name: str) -> list[Message]:
    """Return an answer as turns: of a string, a turn, or a list of turns."""
    if value is None:
        raise RowProblem("null-value", f"{name} is null")
    if isinstance(value, str):
        if not value.strip():
            raise RowProblem("empty-answer", f"{name} is empty")
        return _transcript(value) if value.startswith("\n\nHuman:") else [{"role": "assistant", "content": value}]
    turns = [value] if isinstance(value, Mapping) else value
    if not isinstance(turns, list) or not turns:
        raise RowProblem("wrong-type", f"{name} is {shown(value)}, not an answer")
    return read_sharegpt(turns)


def _transcript(text: str) -> list[Message]:
    """Return the turns of "\\n\\nHuman: ...\\n\\nAssistant: ..."."""
    pieces = _TRANSCRIPT.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": words} for who, words in zip(pieces[1::2], pieces[2::2], strict=True)]


def _shared(ours: Sequence[Message], theirs: Sequence[Message]) -> int:
    """Return how many turns both begin with, up to the last one that can end a prompt."""
    shared = 0
    for ours_turn, theirs_turn in zip(ours[:-1], theirs[:-1], strict=False):
        if ours_turn != theirs_turn:
            break
        shared += 1
    while shared and ours[shared - 1]["role"] not in ("user", "tool"):
        shared -= 1
    return shared
