"""A comparison of models as Markdown, for a pull request or a notebook: the same words as the page, without its plots.

What models and items say is shown as code blocks and escaped cells, so that none of it is read as Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stoker.analysis.disagreements import Disagreement
from stoker.data.visible import visible
from stoker.report.comparison import ComparisonFacts, cells, cost_rows, headers, nll_rows, pairs
from stoker.units import score

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def comparison_markdown(facts: ComparisonFacts) -> str:
    """Return the text."""
    compared = facts.compared
    parts = [f"# {_plain(facts.title)}", _plain(facts.recommendation.reason)]
    for (a, b), lines in pairs(compared):
        parts += [f"## {_plain(b)} against {_plain(a)}", _table(headers(a, b), [cells(line) for line in lines])]
        if rows := nll_rows(lines):
            parts += ["NLL of the expected answers (nats per token):"]
            parts += [_table(("benchmark", "n", a, b, "change", "interval", "p"), rows)]
    parts += ["## What they take"]
    parts += [_table(("model", "first token", "tokens/s", "on disk", "in memory"), cost_rows(compared.models))]
    if facts.disagreements:
        parts += ["## Where they disagree", *(_item(one) for one in facts.disagreements)]
    rest = [
        f"- {_plain(one.benchmark)}, {_plain(one.model_b)} against {_plain(one.model_a)}: not compared, {_plain(one.reason)}"
        for one in compared.missing
    ]
    rest += [
        f"- {_plain(line.benchmark)}, {_plain(line.model_b)} against {_plain(line.model_a)}: items that only one "
        f"of both answered: {line.left_out:,}"
        for line in compared.lines
        if line.left_out
    ]
    rest += [f"- {_plain(text)}" for text in compared.notes]
    if rest:
        parts += ["## What does not count", "\n".join(rest)]
    parts.append(
        f"Intervals at {100 * facts.confidence:g} %; p corrected for all pairs and benchmarks (Holm); detectable: the true "
        "difference that so many items show four times in five."
    )
    return "\n\n".join(parts) + "\n"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cell if cell == '---' else _plain(cell) for cell in line)} |" for line in lines)


def _item(one: Disagreement) -> str:
    category = f", {_plain(one.category)}" if one.category else ""
    parts = [f"### {_plain(one.benchmark)}, item {_plain(one.id)}{category}", "Prompt:", _block(one.prompt)]
    parts += ["Expected:", _block(one.expected)]
    for given in one.given:
        parts.append(f"{_plain(given.model)} ({score(given.score, one.metric)}):")
        if given.answer is not None:
            parts.append(_block(given.answer))
    return "\n\n".join(parts)


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))


def _block(text: str) -> str:
    """Return a code block whose fence is longer than any in the text."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"
