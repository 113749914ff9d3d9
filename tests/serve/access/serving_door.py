"""What tests of the door share: its clock, and asking it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stoker.serve.access import Access, Grant

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC

Open = Callable[..., Access]


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time


def ask(access: Access, text: str | None = None, *, model: str = "main/v1", link: str | None = None) -> Grant:
    """Ask to generate with a key or a link."""
    header = None if text is None else f"Bearer {text}"
    return access.authorise(header, scope="generate", model=model, link=link)


def answered(access: Access, grant: Grant, **fields: Any) -> str:
    """Let a request begin and end; return its id."""
    begun = {"model": "main/v1", "endpoint": "chat.completions", "max_tokens": 16}
    ticket = access.begin(grant, **{name: fields.pop(name, value) for name, value in begun.items()})
    ended = {"status": 200, "tokens_in": 5, "tokens_out": 3, "first_token_seconds": 0.1, "seconds": 0.5}
    ticket.end(**(ended | fields))
    return ticket.id
