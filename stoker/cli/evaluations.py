"""`stoker eval`: what versions score, and what follows from it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stoker.cli import benches, comparing, influence, understanding, units
from stoker.cli.console import AsJson, note, print_json, print_table
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.workspace import Workspace

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Evaluate versions and compare them.")


app.command("compare")(comparing.compare)
app.command("bench")(benches.bench)
app.command("explain")(understanding.explain)
app.command("items")(understanding.items)
app.command("influence")(influence.influence)


@app.command("list")
def list_(
    evaluation: Annotated[str, typer.Argument(metavar="[ID]", help="One evaluation's id, or @latest.")] = "",
    every_metric: Annotated[bool, typer.Option("--all", help="Also the metrics that decide nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the comparisons: candidate against parent and base, with intervals."""
    reader = open_reader()
    comparisons = reader.comparisons(reader.resolve("evaluation", evaluation) if evaluation else None)
    if as_json:
        print_json(comparisons)
        return
    print_comparisons(comparisons, every_metric=every_metric)
    for found in reader.evaluations():
        if evaluation and found["id"] != reader.resolve("evaluation", evaluation):
            continue
        verdict = found["verdict"]
        note(f"{found['id']} {found['candidate']}: {verdict['reason'] if verdict else found['state']}")
        _note_basics(reader.workspace, found)
    if not comparisons:
        note("nothing evaluated yet; a run is evaluated when it is done, or run: stoker eval run VERSION")


@app.command()
def run(
    version: Annotated[str, typer.Argument(help="A version: main/v3, v3, @champion, @latest.")],
    against: Annotated[list[str] | None, typer.Option(help="A version to compare with; again for more.")] = None,
) -> None:
    """Evaluate a version once more, against its parent and the base or the versions named; it promotes nothing."""
    workspace = current_lab()
    reader = open_reader()
    model, number = reader.resolve_version(version)
    others = [reader.resolve_version(other)[1] for other in against or []]
    reply = ask_supervisor(workspace, "eval.run", model=model, version=number, against=others)
    note(f"evaluation {reply.get('evaluation', '')} queued; see: stoker eval list")


def _note_basics(workspace: Workspace, found: dict[str, Any]) -> None:
    """Say what the basics showed and what they took; what was forgotten stands in the verdict's reason already."""
    path = workspace.evaluation(found["id"]) / "results.json"
    if found["state"] != "done" or not path.is_file():
        return
    import orjson

    shown = orjson.loads(path.read_bytes()).get("forgetting")
    if shown:
        said = f"{shown['n']} basics" if shown["is_forgotten"] else str(shown["text"]).rstrip(".")
        note(f"  {said}; asked in {units.duration(shown['seconds'])}")


def print_comparisons(comparisons: list[dict[str, Any]], *, every_metric: bool = False) -> None:
    """Print the table of a verdict: both scores, the difference, its interval, what follows.

    A benchmark's other metrics decide nothing and are left out unless asked for; `detectable` is the smallest true difference
    that this many items would show four times in five.
    """
    rows = [
        (
            row["candidate"],
            row["against"],
            row["benchmark"],
            row["metric"],
            units.count(row["n"]),
            units.score(row["against_score"], row["metric"]),
            units.score(row["candidate_score"], row["metric"]),
            units.signed(row["difference"], row["metric"]),
            units.interval(row["low"], row["high"], row["metric"]),
            units.detectable(row["minimum_detectable_effect"], row["metric"]),
            units.p_value(row["p_value"]),
            row["outcome"],
        )
        for row in comparisons
        if every_metric or row["is_primary"]
    ]
    headers = (
        "candidate",
        "against",
        "benchmark",
        "metric",
        "n",
        "before",
        "after",
        "change",
        "interval",
        "detectable",
        "p",
        "outcome",
    )
    print_table(headers, rows, numbers=("n", "before", "after", "change", "detectable", "p"))
