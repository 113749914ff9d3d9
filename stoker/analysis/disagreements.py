"""Where models disagree: the items that they scored differently on, with every answer side by side. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stoker.analysis.comparing import Found, Measured
from stoker.analysis.scorers import NLL
from stoker.mailbox.benches import BenchItem


@dataclass(frozen=True, slots=True)
class Given:
    """What one model made of an item; `answer` is None where nothing was generated or chosen."""

    model: str
    answer: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One item, with what each model made of it, in the order of the models."""

    benchmark: str
    metric: str
    id: str
    category: str | None
    prompt: str
    expected: str
    given: tuple[Given, ...]


def disagreements(models: Sequence[str], found: Found, num_items: int) -> list[Disagreement]:
    """Return at most so many items of each benchmark that is answered, those of all models that have a result on it.

    The widest apart first; among equals those that different models win take turns, so that no side is shown alone.
    """
    shown: list[Disagreement] = []
    for benchmark, measured in found.items():
        asked = [model for model in models if model in measured]
        if len(asked) > 1 and measured[asked[0]].result.primary != NLL:
            shown += _in_turns(_differing(benchmark, asked, measured))[:num_items]
    return shown


def _differing(benchmark: str, models: Sequence[str], measured: Mapping[str, Measured]) -> list[Disagreement]:
    metric = measured[models[0]].result.primary
    by_id = [{item.id: item for item in measured[model].items} for model in models]
    differing = []
    for id, first in by_id[0].items():
        items = [known.get(id) for known in by_id]
        scores = [None if item is None else _score(item, metric) for item in items]
        given = tuple(
            Given(model, _answer(item), score)
            for model, item, score in zip(models, items, scores, strict=True)
            if item is not None and score is not None
        )
        if len(given) == len(models) and len(set(scores)) > 1:
            differing.append(
                Disagreement(benchmark, metric, id, first.category, first.prompt, first.expected, given)
            )  # fmt: skip
    return differing


def _score(item: BenchItem, metric: str) -> float | None:
    value = item.scores.get(metric)
    return value if item.left_out is None and value is not None and math.isfinite(value) else None


def _answer(item: BenchItem) -> str | None:
    return item.answer if item.answer is not None else item.choice


def _in_turns(differing: Sequence[Disagreement]) -> list[Disagreement]:
    groups: dict[tuple[str, ...], int] = {}
    ordered = []
    for one in sorted(differing, key=_spread, reverse=True):
        winners = _winners(one)
        turn = groups[winners] = groups.get(winners, -1) + 1
        ordered.append((turn, one))
    widest = max(map(_spread, differing), default=0.0)
    # Among marks every item is as wide apart as any other; graded scores go by how far apart they are alone.
    if all(_spread(one) == widest for one in differing):
        ordered.sort(key=lambda each: each[0])
    return [one for _, one in ordered]


def _spread(one: Disagreement) -> float:
    scores = [given.score for given in one.given]
    return max(scores) - min(scores)


def _winners(one: Disagreement) -> tuple[str, ...]:
    scores = [given.score for given in one.given]
    return tuple(given.model for given in one.given if given.score == max(scores))
