"""`stoker run analyse`: a run's learning curve in words, with advice, and as a page with plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoker.analysis.curve import Analysis, analyse
from stoker.cli import units
from stoker.cli.console import note, print_json, say
from stoker.durable import write_atomic
from stoker.errors import NotAllowed, NotFound
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.report.curve import CurveFacts, curve_page
from stoker.store.reader import Reader


def analyse_run(reader: Reader, run_id: str, page: Path | None, as_json: bool) -> None:
    """Print the analysis, and write the page to `page`, which must not exist."""
    detail, metrics = reader.run_detail(run_id), reader.metrics(run_id)
    if not metrics:
        raise NotFound(f"{run_id} has no step yet", f"it is {detail['state']}", "run: stoker run list")
    if page is not None:
        _require_free(page)
    facts = _curves(detail, metrics, _heldout(reader.workspace.run(run_id)))
    found = analyse(facts.losses, facts.heldout, facts.rates)
    if page is not None:
        write_atomic(page.absolute(), curve_page(facts, found).encode())
    if as_json:
        print_json({"run": run_id, **found.to_json(), "html": str(page.absolute()) if page else None})
        return
    _say(found, units.sparkline([loss for _, loss in facts.losses if loss == loss]))
    if page is not None:
        note(f"wrote {page}; open it in a browser")


def _curves(detail: dict[str, Any], metrics: list[dict[str, Any]], heldout: list[tuple[int, float]]) -> CurveFacts:
    """Gather the series; a value that was not finite is kept as NaN, so that it is counted."""

    def series(name: str) -> list[tuple[int, float]]:
        return [(step["step"], float("nan") if step[name] is None else float(step[name])) for step in metrics]

    version = f"{detail['model']}/v{detail['version']}" if detail["version"] else "-"
    facts = [
        ("run", f"{detail['id']}, {detail['state']}"),
        ("version", version),
        ("dataset", detail["dataset"]),
        ("steps", f"{len(metrics):,} of {detail['total_steps'] or '?'}"),
        ("tokens", units.count(sum(step["tokens"] or 0 for step in metrics))),
    ]
    return CurveFacts(detail["id"], facts, series("loss"), heldout, series("learning_rate"), series("grad_norm"))


def _heldout(folder: Path) -> list[tuple[int, float]]:
    """Return the evaluations during the run; a step done twice counts as it was the last time."""
    journal, found = JournalReader(folder / MESSAGES), {}
    while records := journal.read():
        for record in records:
            if record.get("kind") == "evaluation" and record.get("heldout_loss") is not None:
                found[int(record["step"])] = float(record["heldout_loss"])
    return sorted(found.items())


def _say(found: Analysis, curve: str) -> None:
    say(found.headline)
    say(curve)
    for statement in found.statements[1:]:
        say(f"- {statement.text}")
    if found.advice:
        say("Next time:")
        for sentence in found.advice:
            say(f"- {sentence}")


def _require_free(page: Path) -> None:
    if page.exists():
        raise NotAllowed(f"{page} exists", "nothing is overwritten", "name another file, or delete it")
    if not page.absolute().parent.is_dir():
        raise NotFound(f"no folder {page.absolute().parent}", "", "make it first")
