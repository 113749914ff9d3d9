"""Writes a daily report into the lab's `reports/`: the page, the Markdown and the facts as JSON, one beside the other.

The name says when the window ends and how long it is, so the same window asked for again replaces its report. The page is written
last: where it is, the others are.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from stoker.durable import write_atomic
from stoker.report.daily import DailyFacts
from stoker.workspace import Workspace


def write_report(workspace: Workspace, facts: DailyFacts) -> Path:
    """Write the three files and return the page's path; DiskFull where there is no room."""
    from stoker.report.daily_page import daily_page, daily_text  # jinja2: only when a report is written

    name = f"daily-{facts.window.words(facts.window.ends, '%Y-%m-%d-%H%M%S')}-{facts.window.hours:.4g}h"
    page = workspace.reports / f"{name}.html"
    workspace.reports.mkdir(exist_ok=True)
    write_atomic(page.with_suffix(".json"), orjson.dumps(facts.to_json(), option=orjson.OPT_INDENT_2))
    write_atomic(page.with_suffix(".md"), daily_text(facts).encode())
    write_atomic(page, daily_page(facts).encode())
    return page


def entry_of(workspace: Workspace, facts: DailyFacts, page: Path) -> dict[str, object]:
    """Return what the store keeps of a report; its path is within the lab, so that a lab may be moved."""
    return {
        "begins": facts.window.begins,
        "ends": facts.window.ends,
        "headline": facts.headline,
        "path": str(page.relative_to(workspace.root)),
        "created": facts.made_at,
    }
