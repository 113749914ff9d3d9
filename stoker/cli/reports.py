"""`stoker report`: the daily report now, those there are, and one of them again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table, say
from stoker.cli.lab import ask_supervisor, current_lab, is_up, open_reader

if TYPE_CHECKING:
    from stoker.report.window import Window
    from stoker.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Daily reports: what happened, and what to do next."
)


@app.command()
def now(
    hours: Annotated[
        float | None, typer.Option(help="The last so many hours; default: 24.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Begin of the window: 2026-11-20 (its midnight) or 2026-11-20T07:00."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="End of the window; default: a day after --from.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of the last 24 hours, or of a window, into the lab's reports/ and print it."""
    from stoker.report.gathering import gather
    from stoker.report.publishing import entry_of, write_report
    from stoker.report.window import require_history
    from stoker.spec.reading import read_settings
    from stoker.store import report_queries

    workspace = current_lab()
    moment = time.time()
    spec = read_settings(workspace.settings)
    window = _window(hours, since, until, moment, spec.lab.timezone)
    reader = open_reader()
    began = reader.ask(report_queries.first_moment)
    # Where no supervisor ever ran nothing has happened since the lab was made.
    require_history(window, workspace.settings.stat().st_mtime if began is None else began)
    facts = gather(reader, window, moment, spec)
    page = write_report(workspace, facts)
    report_id = _record(workspace, entry_of(workspace, facts, page))
    if as_json:
        print_json({"id": report_id, "path": str(page), **facts.to_json()})
        return
    say(page.with_suffix(".md").read_text("utf-8").rstrip())
    note(f"{page}; open it in a browser")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the reports there are, oldest first."""
    from stoker.store import report_queries

    found = open_reader().ask(report_queries.reports)
    if as_json:
        print_json(found)
        return
    rows = [(one["id"], _words(one["begins"]), _words(one["ends"]), one["headline"], one["path"]) for one in found]
    print_table(("id", "from", "to", "headline", "page"), rows)
    if not found:
        note("no report yet; the supervisor writes one at report.at, or: stoker report now")


@app.command()
def show(
    report: Annotated[str, typer.Argument(metavar="ID", help="A report's id, a prefix of it, or @latest.")] = "@latest",
    as_json: AsJson = False,
) -> None:
    """Print a report again, as it was written."""
    import orjson

    from stoker.errors import NotFound
    from stoker.store import report_queries

    reader = open_reader()
    found = reader.ask(report_queries.report, reader.resolve("report", report))
    page = reader.workspace.root / found["path"]
    path = page.with_suffix(".json" if as_json else ".md")
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        remedy = (
            f"write it again: stoker report now --from {_words(found['begins'], 'T')} --to {_words(found['ends'], 'T')}"
        )
        raise NotFound(f"{path} is gone", f"it was {found['id']}", remedy) from None
    if as_json:
        print_json({"id": found["id"], "path": str(page), **orjson.loads(text)})
        return
    say(text.rstrip())
    note(f"{page}; open it in a browser")


def _window(hours: float | None, since: str | None, until: str | None, moment: float, timezone: str) -> Window:
    from stoker.errors import UsageError
    from stoker.report.window import between, last_hours

    if since is None and until is None:
        return last_hours(24.0 if hours is None else hours, moment, timezone)
    if hours is not None:
        raise UsageError("--hours with --from or --to", "a window is given one way", "leave one of them out")
    return between(since, until, moment, timezone)


def _record(workspace: Workspace, entry: dict[str, Any]) -> str | None:
    """Enter the report into the store, through the supervisor where one runs; None while it has not answered."""
    from stoker.supervisor.holding import hold
    from stoker.supervisor.reporting import record

    if is_up(workspace):
        answer = ask_supervisor(workspace, "report.record", **entry)
        found: str | None = answer.get("report")
        return found
    with hold(workspace) as store, store.transaction() as transaction:
        return record(transaction, entry)


def _words(moment: float, between: str = " ") -> str:
    return units.date_time(moment).replace(" ", between)
