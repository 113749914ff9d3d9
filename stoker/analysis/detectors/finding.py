"""A finding: what a detector has to say, in one sentence and in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from stoker.spec.watching import Kind

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Severity = Literal["info", "warn", "critical"]


@dataclass(frozen=True)
class Finding:
    """`text` is one sentence with the numbers; `numbers` are JSON values: whatever is not finite is left out."""

    kind: Kind
    severity: Severity
    step: int
    text: str
    numbers: dict[str, float]
