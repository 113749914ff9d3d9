"""Who may ask, and what is written down of each request. TO BE REPLACED ON MERGE: this one lets everything through."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stoker.spec.serving import ServeSpec


@dataclass(frozen=True)
class Grant:
    """What a request may do."""

    kind: Literal["open", "key", "link"]
    id: str | None
    models: frozenset[str] | None
    scopes: frozenset[str]


class Ticket:
    """One request under way."""

    def __init__(self) -> None:
        self.id = f"req_{secrets.token_hex(12)}"

    def end(self, **facts: Any) -> None:
        """Take what became of the request."""


class Access:
    """Lets everything through."""

    def __init__(
        self, folder: Path, spec: ServeSpec, *, is_loopback: bool, now: Callable[[], float] = time.time
    ) -> None:
        pass

    def authorise(
        self, authorization: str | None, *, scope: str, model: str | None = None, link: str | None = None
    ) -> Grant:
        return Grant("open", None, None, frozenset({"generate", "feedback", "models"}))

    def begin(self, grant: Grant, *, model: str, endpoint: str, max_tokens: int) -> Ticket:
        return Ticket()

    def close(self) -> None:
        pass
