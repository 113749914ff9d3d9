"""A signal: one thing that speaks against one row, with its strength and its words.

Strengths are our judgement, not measurements. What each signal looks at, its formula, thresholds and source: docs/quality.md.
"""

from __future__ import annotations

from typing import NamedTuple

GROUPS = {
    "loop": "answer", "hollow": "answer", "garbled": "answer", "foreign": "answer", "echo": "answer",
    "short": "size", "long": "size", "ratio": "size",
    "label": "agreement", "stray-label": "answer", "neighbours": "agreement",
    "finding": "finding",
    "high-loss": "loss", "rising-loss": "forgetting",
}  # fmt: skip
"""The name of each signal, and the group that it counts in: of a group only the strongest counts."""


class Signal(NamedTuple):
    """`row` is the row's place among the rows looked at, `strength` between 0 and 1."""

    row: int
    name: str
    strength: float
    reason: str
