"""The reference's pages on findings: an index, and a page for each code with an example that a test sends through the intake."""

from __future__ import annotations

from stoker.data.checks.examples import ANY_WARNING, ELSEWHERE, EXAMPLES, Example
from stoker.data.checks.rules import RULES, Rule

_SHOWN_LINES, _SHOWN_CHARS = 2, 300
_SEVERITIES = {
    "block": "the file waits for a person",
    "warn": "the file trains, less the rows that can't be used",
    "note": "told, and nothing else",
}


def finding_pages() -> dict[str, str]:
    """Return path and text of the index and of every code's page."""
    rules = sorted(RULES.values(), key=lambda rule: rule.code)
    return {"findings.md": _index(rules), **{f"findings/{rule.code}.md": _page(rule) for rule in rules}}


def _index(rules: list[Rule]) -> str:
    lines = [
        "# Findings\n",
        "What can be wrong with a file or a row, each with its page: an example, why it hurts, what to do, how to override it. `block` stops",
        "the file, `warn` costs points where points are given ([how](../score.md)), `note` is only told. Rows with a code of the",
        "ledger cost points together, as [unusable-rows](findings/unusable-rows.md).\n",
        "| code | severity | points | what |",
        "|---|---|---|---|",
    ]
    for rule in rules:
        lines.append(
            f"| [{rule.code}](findings/{rule.code}.md) | {rule.severity} | {_points(rule) or '-'} | {_meaning(rule)} |"
        )
    return "\n".join(lines) + "\n"


def _page(rule: Rule) -> str:
    example = EXAMPLES.get(rule.code)
    points = _points(rule)
    cost = f"costs {points}" if points else "costs no points of its own"
    parts = [
        f"# {rule.code}\n",
        f"{_meaning(rule)}\n",
        f"Severity: `{rule.severity}` ({_SEVERITIES[rule.severity]}); {cost}.\n",
    ]
    if example is not None:
        parts += ["## An example\n", _shown(example)]
    parts += ["## Why it hurts\n", _sentence(rule.why), "## What to do\n", _sentence(rule.remedy)]
    parts += ["## To override it\n", f"{example.override if example else ANY_WARNING}\n"]
    parts.append("[All findings](../findings.md); [how points become a score](../../score.md).")
    return "\n".join(parts) + "\n"


def _shown(example: Example) -> str:
    """Return an example's first lines, and the words that say what stands around them."""
    lines = [
        line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]} ... ({len(line):,} characters)"
        for line in example.lines()
    ]
    if len(lines) > _SHOWN_LINES:
        lines = [*lines[:_SHOWN_LINES], f"... {len(lines)} such rows"]
    where = f"In `{example.name}`" + ("" if example.is_alone else ", among rows with nothing wrong")
    where += f", after {example.after}" if example.after else ""
    if example.benchmark:
        where += f", in a lab whose benchmark has the item `{example.benchmark}`"
    parts = [f"{where}:\n", "```text", *lines, "```\n"]
    if example.also:
        parts.append(f"Found with it: {', '.join(f'[{code}]({code}.md)' for code in example.also)}.\n")
    return "\n".join(parts)


def _meaning(rule: Rule) -> str:
    if (example := EXAMPLES.get(rule.code)) is not None:
        return example.what
    return ELSEWHERE.get(rule.code) or _sentence(rule.title).strip()


def _points(rule: Rule) -> str:
    return f"{rule.points:g} points at {rule.full_share:.0%} of the rows" if rule.points else ""


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".") + "\n"
