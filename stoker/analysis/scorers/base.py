"""What a scorer is: a function from an item's expected answer and a model's answer to marks and scores from 0 to 1.

Each scorer names its primary metric, the one a verdict is reached by, and says of every metric whether it is a mark
(right or wrong: McNemar) or a graded score (bootstrap). NLL is measured for every item by the runner and needs no
answer. Scoring is pure: kept answers can be scored again at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NLL = "nll"
Meta = Mapping[str, Any]
Score = Callable[[Meta, str, str], dict[str, float]]
Corpus = Callable[[Sequence[tuple[Meta, str, str]]], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A named way to score. `metrics` maps each metric to "is it a mark"; the first one is primary."""

    name: str
    metrics: Mapping[str, bool]
    score: Score
    """Takes the item's meta, the expected answer and the given one."""
    corpus: Corpus | None = None
    """Metrics that are of all items together, such as corpus BLEU; takes what `score` takes, for each item."""
    is_proven: bool = True
    """Its items are proven: an item's own expected answer must get full marks, or the item does not count."""

    @property
    def primary(self) -> str:
        return next(iter(self.metrics), NLL)

    @property
    def needs_answer(self) -> bool:
        return bool(self.metrics)


def accepted(meta: Meta, expected: str) -> list[str]:
    """Return every answer that counts as right: the expected one and the item's `aliases`."""
    aliases = meta.get("aliases")
    return [expected, *(str(alias) for alias in aliases)] if isinstance(aliases, list) else [expected]
