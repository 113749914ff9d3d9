"""A line of `stoker doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was looked at and found; `state` missing ends the command with 1."""

    name: str
    state: Literal["ok", "warn", "missing"]
    detail: str
    remedy: str = ""
