"""How a comparison of models looks on a terminal: what to use, the scores, what they cost, where they disagree."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stoker.analysis.scorers import NLL
from stoker.cli import units
from stoker.cli.bench_table import short_names
from stoker.cli.console import note, print_table, say
from stoker.data.visible import visible

if TYPE_CHECKING:
    from stoker.analysis.comparing import Line, ModelFacts
    from stoker.analysis.disagreements import Disagreement
    from stoker.report.comparison import ComparisonFacts

_WIDTH = 100
_EXCERPT_CHARS = 280
_OUTCOMES = {"no detectable difference": "no difference"}


def print_comparison(facts: ComparisonFacts) -> None:
    """Print the recommendation, a table for each pair, costs and items; what could not be compared goes to stderr."""
    compared = facts.compared
    names = short_names([one.model for one in compared.models])
    reason = facts.recommendation.reason.replace(" %", "\u00a0%")  # a number and its sign stay on one line
    say(textwrap.fill(reason, _WIDTH, break_long_words=False).replace("\u00a0", " "))
    for pair in dict.fromkeys((line.model_a, line.model_b) for line in compared.lines):
        _print_pair(pair, [line for line in compared.lines if (line.model_a, line.model_b) == pair], names)
    say()
    _print_models(compared.models, names)
    for one in facts.disagreements:
        _print_item(one, names)
    _note_rest(facts, names)


def _print_pair(pair: tuple[str, str], lines: Sequence[Line], names: dict[str, str]) -> None:
    a, b = (names[model] for model in pair)
    say()
    say(f"{b} against {a}")
    rows = [
        (
            line.benchmark,
            units.count(line.n),
            units.score(line.a, line.metric),
            units.score(line.b, line.metric),
            units.signed(line.difference, line.metric),
            units.interval(line.low, line.high, line.metric),
            units.detectable(line.minimum_detectable, line.metric),
            units.p_value(line.p_corrected),
            _OUTCOMES.get(line.outcome, line.outcome),
        )
        for line in lines
    ]
    headers = ("benchmark", "n", a, b, "change", "interval", "detectable", "p", "outcome")
    print_table(headers, rows, numbers=("n", a, b, "change", "detectable", "p"))
    nlls = [
        (
            line.benchmark,
            units.count(line.nll.n),
            units.score(line.nll.a, "nll"),
            units.score(line.nll.b, "nll"),
            units.signed(line.nll.difference, "nll"),
            units.interval(line.nll.low, line.nll.high, "nll"),
            units.p_value(line.nll.p_corrected),
        )
        for line in lines
        if line.nll is not None and line.metric != NLL
    ]
    if nlls:
        say()
        print_table(
            ("NLL of the answers", "n", a, b, "change", "interval", "p"), nlls, numbers=("n", a, b, "change", "p")
        )


def _print_models(models: Sequence[ModelFacts], names: dict[str, str]) -> None:
    rows = [
        (
            names[one.model],
            None if one.first_token_seconds is None else f"{1000 * one.first_token_seconds:,.0f} ms",
            None if one.tokens_per_second is None else f"{one.tokens_per_second:,.0f}",
            None if one.disk_bytes is None else units.size(one.disk_bytes),
            None if one.memory_bytes is None else units.size(one.memory_bytes),
        )
        for one in models
    ]
    headers = ("model", "first token", "tokens/s", "on disk", "in memory")
    print_table(headers, rows, numbers=headers[1:])


def _print_item(one: Disagreement, names: dict[str, str]) -> None:
    say()
    category = f", {visible(one.category)}" if one.category else ""
    say(f"{one.benchmark}, item {visible(one.id)}{category}")
    width = max(8, *(len(names[given.model]) for given in one.given))
    parts = [("prompt", one.prompt), ("expected", one.expected)]
    for given in one.given:
        mark = units.score(given.score, one.metric)
        parts.append((names[given.model], f"[{mark}] {given.answer}" if given.answer is not None else f"[{mark}]"))
    for title, text in parts:
        shown = " ".join(visible(text).split())
        shown = shown if len(shown) <= _EXCERPT_CHARS else shown[: _EXCERPT_CHARS - 3] + "..."
        lines = textwrap.wrap(shown, max(20, _WIDTH - width - 4)) or [""]
        for place, line in enumerate(lines):
            say(f"  {title if place == 0 else '':<{width}}  {line}".rstrip())


def _note_rest(facts: ComparisonFacts, names: dict[str, str]) -> None:
    for line in facts.compared.lines:
        if line.left_out:
            what = f"{line.benchmark}, {names[line.model_b]} against {names[line.model_a]}"
            note(f"{what}: items that do not count because only one of both answered them: {line.left_out:,}")
    for one in facts.compared.missing:
        note(f"{one.benchmark}, {names[one.model_b]} against {names[one.model_a]}: not compared, {one.reason}")
    for text in facts.compared.notes:
        note(text)
    level = f"{100 * facts.confidence:g} %"
    note(
        f"intervals at {level}; p corrected for all pairs and benchmarks; detectable: a true difference found four times in five"
    )
