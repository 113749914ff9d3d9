"""The page about a dataset, or about a file that was only checked: what `templates/dataset.html` shows, from plain facts.

Every number is one that `stoker data show` or `check` gives; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stoker.data.checks.rules import RULES
from stoker.data.rows import Message, Row
from stoker.report.charts import Bar, Chart, histogram, lying_bars, stacked_bar
from stoker.report.page import render_page

SHOWN_CHARACTERS = 1500
_SIDES = ("train", "held_out", "duplicate", "quarantined")
_MEASURED = (
    ("prompt_characters", "Characters of a prompt"),
    ("answer_characters", "Characters of an answer"),
    ("turns", "Turns of a row"),
)
_GATES = {
    "pass": ("good", "good"),
    "warn": ("with a warning", "warn"),
    "stop": ("too low to train without approval", "bad"),
}


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset: `summary` as in dataset.json, `statistics` and `samples` where there are rows.

    `facts` are names and values for the head of the page; `refusal` is why a file can't be used.
    """

    name: str
    facts: Sequence[tuple[str, str]]
    summary: dict[str, Any]
    statistics: dict[str, Any] | None
    samples: Sequence[tuple[Row, str]]
    refusal: str | None = None


def dataset_page(about: DatasetFacts) -> str:
    """Return the HTML of the page."""
    summary = about.summary
    counts = [(side.replace("_", " "), int(summary.get(side) or 0)) for side in _SIDES]
    deductions = summary.get("deductions") or []
    score = summary.get("score")
    return render_page(
        "dataset.html",
        about=about,
        rows_in=summary.get("rows_in"),
        sides=stacked_bar(counts),
        reasons=lying_bars(list((summary.get("reasons") or {}).items()), int(summary.get("rows_in") or 0)),
        score=score if about.refusal is None else None,
        gate=_GATES.get(str(summary.get("gate")), (None, None)),
        deductions=list(
            zip(deductions, lying_bars([(one["code"], one["points"]) for one in deductions], 100), strict=True)
        ),
        findings=_findings(summary),
        notes=list(summary.get("notes") or ()),
        charts=_charts(summary, about.statistics),
        single=_single(about.statistics),
        lost=_lost(summary.get("tokens")),
        labels=_labels(about.statistics),
        clusters=(about.statistics or {}).get("clusters"),
        samples=[_sample(row, side) for row, side in about.samples],
    )


def _charts(summary: dict[str, Any], statistics: dict[str, Any] | None) -> list[Chart]:
    """Return the histograms, those of lengths first; what was not measured has none."""
    charts: list[Chart | None] = []
    if tokens := summary.get("tokens"):
        title = f"Tokens of a row, by the tokenizer of {tokens['tokenizer']}"
        charts.append(histogram(title, tokens["histogram"], "rows", tokens["quantiles"]))
    measured = statistics or {}
    for key, title in _MEASURED:
        if found := measured.get(key):
            charts.append(histogram(title, found["histogram"], "rows", found["quantiles"]))
    if (clusters := measured.get("clusters")) and clusters["near_duplicates"]:
        charts.append(histogram("Rows of a cluster of near duplicates", clusters["sizes"], "clusters"))
    return [chart for chart in charts if chart is not None]


def _single(statistics: dict[str, Any] | None) -> list[tuple[str, int]]:
    """Return what has one value in every row, and the value: a sentence says more than a chart of one bar."""
    found = [(title, (statistics or {}).get(key)) for key, title in _MEASURED]
    ends = [(title, one["quantiles"]["min"], one["quantiles"]["max"]) for title, one in found if one]
    return [(title, low) for title, low, high in ends if low == high]


def _lost(tokens: dict[str, Any] | None) -> tuple[Bar, ...]:
    """Return how many rows each max_length would leave out."""
    if not tokens:
        return ()
    total = sum(number for _, _, number in tokens["histogram"])
    return lying_bars([(f"{limit:,}", number) for limit, number in tokens["lost"]], total)


def _labels(statistics: dict[str, Any] | None) -> tuple[Bar, ...]:
    if not statistics or not statistics["labels"]:
        return ()
    return lying_bars([(label, number) for label, number in statistics["labels"]], statistics["rows_read"])


def _findings(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the findings by code, in the order of the summary (the worst first), each with its examples."""
    examples: dict[str, list[dict[str, Any]]] = {}
    for finding in summary.get("findings") or ():
        examples.setdefault(finding["code"], []).append(finding)
    counts = summary.get("finding_counts") or {}
    bars = lying_bars(
        [(code, counts.get(code, len(found))) for code, found in examples.items()], summary["rows_in"] or 0
    )
    return [
        {
            "code": code, "severity": found[0]["severity"], "remedy": found[0]["remedy"], "examples": found, "bar": bar,
            "title": RULES[code].title if code in RULES else code.replace("-", " "),
            "why": RULES[code].why if code in RULES else "",
        }
        for (code, found), bar in zip(examples.items(), bars, strict=True)
    ]  # fmt: skip


def _sample(row: Row, side: str) -> dict[str, Any]:
    content = row.content
    turns = [("text", row.text or "")] if row.messages is None else [_turn(turn) for turn in content.messages or ()]
    for name, answer in (("chosen", content.chosen), ("rejected", content.rejected)):
        turns += [(name, _turn(turn)[1]) for turn in answer or ()]
    return {
        "line": row.line,
        "side": side.replace("_", " "),
        "kind": row.kind if content.label is None else f"{row.kind}, {'wanted' if content.label else 'unwanted'}",
        "turns": [(role, *_shortened(text)) for role, text in turns],
    }


def _turn(turn: Message) -> tuple[str, str]:
    calls = [str(call.get("function", call)) for call in turn.get("tool_calls") or ()]
    return turn["role"], "\n".join(part for part in (str(turn.get("content") or ""), *calls) if part)


def _shortened(text: str) -> tuple[str, int]:
    """Return the text's beginning and how many characters are left out."""
    return text[:SHOWN_CHARACTERS], max(0, len(text) - SHOWN_CHARACTERS)
