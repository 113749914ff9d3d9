"""Which of several compared models to use: one recommendation with its reason, or why there is none. Pure.

What was found better counts first, then size, then speed; a difference that the items could not show never counts.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stoker.analysis.comparing import SAME, Compared, Line, ModelFacts
from stoker.analysis.scorers import NLL
from stoker.units import score, signed, size

_SMALLER, _FASTER = 0.95, 1.25
_NUM_NAMED = 3
Kind = Literal["better", "no detectable difference", "trade-off", "nothing to compare"]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """`model` is None where the results call for none; `outcome` says what it rests on."""

    model: str | None
    outcome: Kind
    reason: str


def recommend(compared: Compared) -> Recommendation:
    """Return what to use."""
    if not compared.lines:
        return Recommendation(None, "nothing to compare", "Nothing can be said: no pair could be compared.")
    compared_models = {model for line in compared.lines for model in (line.model_a, line.model_b)}
    left = [one.model for one in compared.models if one.model not in compared_models]
    if left:
        known = tuple(one for one in compared.models if one.model in compared_models)
        found = recommend(dataclasses.replace(compared, models=known))
        return dataclasses.replace(found, reason=f"{found.reason} Nothing can be said of {_listed(left)}.")
    wins = _Wins(compared)
    unbeaten = [one.model for one in compared.models if not wins.is_beaten(one.model)]
    most = max((len(wins.beaten_by(model)) for model in unbeaten), default=0)
    best = [model for model in unbeaten if len(wins.beaten_by(model)) == most]
    trades = [(x, y) for x, y in itertools.combinations(unbeaten, 2) if wins.is_trade(x, y) and {x, y} & set(best)]
    if trades or not best:
        return Recommendation(None, "trade-off", _trade_reason(wins, trades))
    facts = {one.model: one for one in compared.models}
    chosen, others = _preferred([facts[model] for model in best])
    if not most:
        return _recommend_by_cost(compared, chosen, others, facts)
    if others:
        names = _listed([chosen.model, *others])
        reason = f"{chosen.model} is {wins.describe(chosen.model)} {names} can't be told apart, in scores, size or speed: any of them will do."
        return Recommendation(None, "better", reason)
    return Recommendation(chosen.model, "better", _better_reason(wins, chosen, best, unbeaten, facts))


class _Wins:
    """Who is better than whom, and where."""

    def __init__(self, compared: Compared) -> None:
        self.models = [one.model for one in compared.models]
        self.lines = compared.lines

    def over(self, x: str, y: str) -> list[Line]:
        """Return the lines on which x is better than y."""
        return [
            line
            for line in self.lines
            if (line.outcome == "better" and (line.model_b, line.model_a) == (x, y))
            or (line.outcome == "worse" and (line.model_a, line.model_b) == (x, y))
        ]

    def beats(self, x: str, y: str) -> bool:
        return bool(self.over(x, y)) and not self.over(y, x)

    def is_trade(self, x: str, y: str) -> bool:
        return bool(self.over(x, y)) and bool(self.over(y, x))

    def beaten_by(self, x: str) -> list[str]:
        return [y for y in self.models if self.beats(x, y)]

    def is_beaten(self, x: str) -> bool:
        return any(self.beats(y, x) for y in self.models)

    def describe(self, x: str) -> str:
        """Say whom x beats and by how much."""
        return "; ".join(f"better than {y} on {_on(self.over(x, y))}" for y in self.beaten_by(x)) + "."


def _recommend_by_cost(
    compared: Compared, chosen: ModelFacts, others: Sequence[str], facts: dict[str, ModelFacts]
) -> Recommendation:
    start = f"No detectable difference between {_listed([one.model for one in compared.models])} {_how_fine(compared)}."
    if others:
        same = "" if len(others) + 1 == len(compared.models) else "those "
        names = _listed([chosen.model, *others])
        return Recommendation(
            None, SAME, f"{start} Any of {same}{names} will do: no clear difference in size or speed either."
        )
    rest = [facts[one.model] for one in compared.models if one.model != chosen.model]
    why = _listed(list(dict.fromkeys(filter(None, (_advantage(chosen, other) for other in rest)))))
    return Recommendation(chosen.model, SAME, f"{start} Use {chosen.model}: it is {why}.")


def _better_reason(
    wins: _Wins, chosen: ModelFacts, best: Sequence[str], unbeaten: Sequence[str], facts: dict[str, ModelFacts]
) -> str:
    reason = f"Use {chosen.model}: {wins.describe(chosen.model)}"
    for model in unbeaten:
        if model == chosen.model:
            continue
        if not any({line.model_a, line.model_b} == {model, chosen.model} for line in wins.lines):
            reason += f" It could not be compared with {model}."
            continue
        reason += f" No detectable difference from {model}"
        if model in best and (why := _advantage(chosen, facts[model])):
            reason += f", but {chosen.model} is {why}"
        elif why := _advantage(facts[model], chosen):
            reason += f", which is {why}"
        reason += "."
    return reason


def _trade_reason(wins: _Wins, trades: Sequence[tuple[str, str]]) -> str:
    if not trades:
        return "No recommendation: the models beat each other in a circle; look at the benchmark that matters to you."
    parts = [
        f"{x} is better than {y} on {_on(wins.over(x, y))}, {y} on {_on(wins.over(y, x))}"
        for x, y in trades[:_NUM_NAMED]
    ]
    return f"No recommendation: {'; '.join(parts)}. Which of these matters more is yours to say."


def _preferred(candidates: Sequence[ModelFacts]) -> tuple[ModelFacts, list[str]]:
    """Return the smallest or fastest, and the names of those over which it has no advantage."""
    chosen = candidates[0]
    for other in candidates[1:]:
        if _advantage(other, chosen):
            chosen = other
    return chosen, [one.model for one in candidates if one is not chosen and not _advantage(chosen, one)]


def _advantage(one: ModelFacts, other: ModelFacts) -> str | None:
    """Say what is clearly better about the cost of `one`, or return None: size decides before speed."""
    for what, ours, theirs in (
        ("in memory", one.memory_bytes, other.memory_bytes), ("on disk", one.disk_bytes, other.disk_bytes),
    ):  # fmt: skip
        if ours and theirs and ours < _SMALLER * theirs:
            return f"smaller than {other.model} ({size(ours)} against {size(theirs)} {what})"
        if ours and theirs and theirs < _SMALLER * ours:
            return None
    if one.tokens_per_second and other.tokens_per_second and one.tokens_per_second > _FASTER * other.tokens_per_second:
        return (
            f"faster than {other.model} ({one.tokens_per_second:,.0f} against {other.tokens_per_second:,.0f} tokens/s)"
        )
    return None


def _on(lines: Sequence[Line]) -> str:
    """Name the benchmarks with their differences, the surest first."""
    ordered = sorted(lines, key=lambda line: line.p_corrected)
    parts = [
        f"{line.benchmark} ({score(_first(line), line.metric)} against {score(_second(line), line.metric)})"
        for line in ordered[:_NUM_NAMED]
    ]
    rest = len(ordered) - len(parts)
    return _listed(parts) + (f" and {rest} more" if rest else "")


def _first(line: Line) -> float:
    return line.b if line.outcome == "better" else line.a


def _second(line: Line) -> float:
    return line.a if line.outcome == "better" else line.b


def _how_fine(compared: Compared) -> str:
    """Say where nothing was found, and from which size on a difference would have been."""
    finest = min(compared.lines, key=lambda line: (line.metric == NLL, line.minimum_detectable))
    names = list(dict.fromkeys(line.benchmark for line in compared.lines))
    shown = _listed(names[:_NUM_NAMED]) + (f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else "")
    if not math.isfinite(finest.minimum_detectable):
        return f"on {shown}"
    unit = "" if finest.metric == NLL else " points"
    seen = signed(finest.minimum_detectable, finest.metric).lstrip("+")
    return f"on {shown}: on {finest.benchmark} a true difference of {seen}{unit} would be seen four times in five"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
