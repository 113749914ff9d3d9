"""The daily report as an HTML page with plots and as Markdown, from the same tables.

Markdown is what mail and terminals show, so its plots are sparklines. Names of files and reasons come from outside: in both
they are only ever text.
"""

from __future__ import annotations

import re
from dataclasses import replace

from stoker import units
from stoker.data.visible import visible
from stoker.report import tables
from stoker.report.charts import Line, Span, line, lying_bars, spans
from stoker.report.daily import MAX_MEAN_STEPS, DailyFacts, Score, VerdictPart
from stoker.report.page import render_page
from stoker.report.tables import Table

MAX_PLOTS = 8
HOW_TO_READ = "Shares change in points, more is better; nll is the loss in nats per token, less is better."
_LOWER_IS_BETTER = ("nll", "perplexity")
_LEAST_REACH = 0.1  # a picture of shares reaches ten points either way, so that small differences look small
_LATER_SECONDS = 3600.0
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def daily_page(facts: DailyFacts) -> str:
    """Return the HTML of the page."""
    by_run, asked = _split(facts)
    used = [(name, size) for name, size in facts.used_bytes if size]
    num_undrawn = max(0, sum(len(run.curve) > 1 for run in facts.runs) - MAX_PLOTS)
    return render_page(
        "daily.html",
        facts=facts,
        tables=tables,
        period=period(facts),
        mood=_mood(facts),
        needs=tables.needs(facts),
        glance=tables.at_a_glance(facts),
        runs=tables.runs(facts, has_trend=num_undrawn > 0),
        trial_runs=tables.runs(facts, is_trial=True),
        curves=_curves(facts),
        how_to_read=HOW_TO_READ,
        num_mean_steps=MAX_MEAN_STEPS,
        num_undrawn=num_undrawn,
        verdicts=[(one, tables.scores(one), _intervals(one)) for one in by_run],
        asked=[(one, tables.scores(one), _intervals(one)) for one in asked],
        standings=tables.standings(facts),
        changes=tables.changes_by_hand(facts),
        incidents=tables.incidents(facts),
        trained=tables.trained(facts),
        rejected=tables.rejected(facts),
        queue=tables.queue(facts),
        disk=[(bar, units.size(bar.number)) for bar in lying_bars(used, sum(n for _, n in used))],
    )  # fmt: skip


def daily_text(facts: DailyFacts) -> str:
    """Return the Markdown: the headline first, then what the page says, in its order."""
    by_run, asked = _split(facts)
    parts = [f"# {_plain(facts.headline)}", period(facts), f"Next: {_plain(facts.next_action)}"]
    parts += _section("Needs you", tables.needs(facts))
    parts.append("\n".join(f"- {name}: {_plain(value)}" for name, value in tables.at_a_glance(facts)))
    parts += _section("Training", tables.runs(facts))
    parts += _verdict_sections("Verdicts", by_run)
    parts += _section("The champion's scores", tables.standings(facts))
    parts.append("\n".join(f"- {_plain(change)}" for change in tables.changes_by_hand(facts)))
    parts += _section("Incidents", tables.incidents(facts))
    parts += _section("Files trained", tables.trained(facts))
    parts += _section("Files refused", tables.rejected(facts))
    parts += _section("Branches of trials", tables.runs(facts, is_trial=True))
    parts += _verdict_sections("Evaluations asked for", asked)
    parts += _section("Queue", tables.queue(facts))
    used = [(name, units.size(size)) for name, size in facts.used_bytes if size]
    parts += _section("Disk", Table(("what", "size"), tuple(used), frozenset({1})))
    parts.append(_sources())
    return "\n\n".join(part for part in parts if part) + "\n"


def period(facts: DailyFacts) -> str:
    """Return the window in words, with its zone and length, and of when the rest is, where that is another time."""
    window = facts.window
    hours = f"{window.hours:.3g} h"
    said = f"{window.words(window.begins)} to {window.words(window.ends)} ({window.zone_name}), {hours}"
    if facts.made_at - window.ends < _LATER_SECONDS:
        return said
    return f"{said}. Queue, disk and what needs you: as of {window.words(facts.made_at)}"


def _split(facts: DailyFacts) -> tuple[list[VerdictPart], list[VerdictPart]]:
    """Return the verdicts on runs, and those that were asked for by hand or by a trial."""
    by_run = [one for one in facts.verdicts if one.run is not None]
    return by_run, [one for one in facts.verdicts if one.run is None]


def _mood(facts: DailyFacts) -> str:
    return "bad" if any(need.is_urgent for need in facts.needs) else "faint" if facts.is_idle else "good"


def _curves(facts: DailyFacts) -> list[Line]:
    """Return the loss of each run over its steps; of many, of those that made the most steps."""
    most = sorted(facts.runs, key=lambda run: -run.num_steps)[:MAX_PLOTS]
    shown = [run for run in facts.runs if run in most]
    found = [line(f"{run.run}, {run.name}: loss over its steps", run.curve) for run in shown]
    return [curve for curve in found if curve is not None]


def _intervals(verdict: VerdictPart) -> list[Span | None]:
    """Return the interval of each deciding score, better to the right, on one scale per metric."""
    scores = verdict.deciding
    found: list[Span | None] = [None] * len(scores)
    for metric in {score.metric for score in scores}:
        places = [place for place, score in enumerate(scores) if score.metric == metric]
        least = 0.0 if metric in _LOWER_IS_BETTER else _LEAST_REACH
        drawn = spans([_gain(scores[place]) for place in places], least)
        for place, interval in zip(places, drawn, strict=True):
            found[place] = interval
    return found


def _gain(score: Score) -> tuple[float, float, float] | None:
    """Return the interval's ends and the difference, turned so that more is better."""
    if score.low is None or score.high is None or score.difference is None:
        return None
    if score.metric in _LOWER_IS_BETTER:
        return -score.high, -score.low, -score.difference
    return score.low, score.high, score.difference


def _verdict_sections(title: str, verdicts: list[VerdictPart]) -> list[str]:
    parts = [f"## {title}", HOW_TO_READ] if verdicts else []
    for one in verdicts:
        source = f"{one.evaluation}, {'asked for by hand' if one.asked_by == 'hand' else one.asked_by}"
        parts.append(f"**{_plain(tables.verdict_title(one))}** ({source}). {_plain(one.reason)}")
        table = tables.scores(one)
        parts.append(_markdown(replace(table, num_hidden=0)))
        if table.num_hidden:
            parts.append(
                f"{table.num_hidden:,} more {'comparison' if table.num_hidden == 1 else 'comparisons'}: `stoker eval list {one.evaluation}`"
            )
    return parts


def _section(title: str, table: Table) -> list[str]:
    return [f"## {title}", _markdown(table)] if table.rows else []


def _markdown(table: Table) -> str:
    if not table.rows:
        return ""
    lines = ["| " + " | ".join(table.headers) + " |"]
    lines.append(
        "|" + "|".join("---:" if place in table.numbers else "---" for place in range(len(table.headers))) + "|"
    )
    lines += ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in table.rows]
    if table.num_hidden:
        lines.append(f"\n{table.num_hidden:,} more are in the JSON.")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def _sources() -> str:
    return (
        "Every figure can be looked up: `stoker run show RUN`, `stoker eval list EVALUATION`, `stoker data show DATASET`, "
        "`stoker report show --json`."
    )
