"""`stoker run`: one job's training, looked at and steered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.analysis.forecast import recent_metrics, run_eta
from stoker.cli import steering, units
from stoker.cli.console import AsJson, note, print_facts, print_json, print_table, say
from stoker.cli.costs import cost_facts, costs, priced
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.cli.pace import pace
from stoker.cli.samples import samples
from stoker.cli.series import series

if TYPE_CHECKING:
    from stoker.store.reader import Reader

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Runs: list, look at, follow, pause, stop, steer.")
app.command()(series)
app.command()(costs)

app.command()(samples)

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, a prefix of it, @latest or @best.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the runs, oldest first."""
    runs = open_reader().runs()
    if as_json:
        print_json(runs)
        return
    rows = [
        (
            run["id"],
            run["state"],
            f"{run['model']}/v{run['version']}" if run["version"] else None,
            run["dataset"],
            f"{run['step']}/{run['total_steps'] or '?'}",
            units.loss(run["loss"]),
        )
        for run in runs
    ]
    print_table(("id", "state", "version", "dataset", "step", "loss"), rows, numbers=("step", "loss"))
    if not runs:
        note("no run yet; run: stoker train FILE, or put a file into the inbox and run: stoker up")


@app.command()
def show(run: RunId = "@latest", as_json: AsJson = False) -> None:
    """Show one run, what was changed on its way, and what happened, in order."""
    reader = open_reader()
    run_id = reader.resolve("run", run)
    detail = reader.run_detail(run_id)
    metrics = recent_metrics(reader, detail)
    eta = run_eta(reader, detail, metrics)
    if as_json:
        records = reader.costs(run_id)
        cost = {**records[0], **priced(reader, records)[0]} if records else None
        print_json(detail | {"eta": eta.to_json() if eta else None, "cost": cost})
        return
    curve = _losses(reader, detail) if metrics else []
    measured = pace(metrics, detail["total_steps"])
    ended = detail["ended_at"]
    print_facts(
        [
            ("run", run_id),
            ("state", detail["state"] + (f": {detail['reason']}" if detail["reason"] else "")),
            ("version", f"{detail['model']}/v{detail['version']}" if detail["version"] else None),
            ("parent", f"v{detail['parent']}" if detail["parent"] else "the base"),
            ("dataset", detail["dataset"]),
            ("step", f"{detail['step']} of {detail['total_steps'] or '?'}"),
            ("loss", f"{units.loss(detail['loss'])}  {units.sparkline(curve)}"),
            ("speed", f"{units.count(measured.tokens_per_second)} tokens/s" if metrics else None),
            ("ETA", units.eta(eta) if eta else None),
            ("took", units.duration(ended - detail["started_at"]) if ended and detail["started_at"] else None),
            ("checkpoint", f"step {detail['checkpoint_step']}" if detail["checkpoint_step"] else None),
            *cost_facts(reader, run_id),
            ("starts", len(detail["starts"]) or None),
            ("folder", reader.workspace.run(run_id)),
        ]
    )
    steering.story(detail)


@app.command()
def analyse(
    run: RunId = "@latest",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with plots; FILE must not exist.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a run's learning curve: over- and underfitting, plateau, best step, noise, and what to do next time."""
    from stoker.cli.analyse import analyse_run

    reader = open_reader()
    analyse_run(reader, reader.resolve("run", run), html, as_json)


@app.command()
def watch(run: RunId = "@latest") -> None:
    """Follow a run on one calm screen, to its verdict. Ctrl-C leaves the screen; the run goes on."""
    from stoker.cli.watching import watch_run

    reader = open_reader()
    watch_run(reader, reader.resolve("run", run))


@app.command()
def logs(
    run: RunId = "@latest",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the run is over.")] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Every step too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the worker said of a run."""
    import orjson

    reader = open_reader()
    for message in _messages(reader.workspace.run(reader.resolve("run", run)), follow=follow):
        if message["kind"] == "step" and not (steps or as_json):
            continue
        say(orjson.dumps(message).decode() if as_json else _log_line(message))


@app.command()
def pause(run: RunId = "@latest") -> None:
    """Pause a run at its next step, with a checkpoint."""
    _steer("run.pause", run, "pauses at the next step; go on with: stoker run resume")


@app.command()
def resume(run: RunId = "@latest") -> None:
    """Resume a paused run where it was."""
    _steer("run.resume", run, "goes on")


@app.command()
def stop(run: RunId = "@latest") -> None:
    """Stop a run at its next step, with a checkpoint. `queue retry` takes its job up again."""
    _steer("run.stop", run, "stops at the next step")


app.command("set")(steering.set_)
app.command()(steering.skip)
app.command()(steering.rollback)


def _losses(reader: Reader, detail: dict[str, Any]) -> list[float]:
    """Return a run's losses without those of steps that were refused as spikes: one of them would flatten all others."""
    refused = {event["data"].get("step") for event in detail["events"] if event["code"] == "step.refused"}
    found = reader.series(detail["id"], ["loss"], points=400)["loss"]
    pairs = zip(found["at"], found["value"], strict=True)
    return [loss for step, loss in pairs if loss is not None and step not in refused]


def _steer(intent: str, run: str, what_follows: str) -> None:
    workspace = current_lab()
    run_id = open_reader().resolve("run", run)
    ask_supervisor(workspace, intent, run=run_id)
    note(f"{run_id} {what_follows}")


def _messages(folder: Path, *, follow: bool) -> Iterator[dict[str, Any]]:
    from stoker.mailbox.journal import JournalReader
    from stoker.mailbox.messages import MESSAGES

    journal = JournalReader(folder / MESSAGES)
    is_over = False
    while True:
        records = journal.read()
        for message in records:
            is_over = message["kind"] == "finished"
            yield message
        if not records:
            if is_over or not follow:
                return
            time.sleep(0.3)


def _log_line(message: dict[str, Any]) -> str:
    skipped = ("kind", "time", "fence", "severity", "code", "text", "data")
    rest = "  ".join(f"{name} {value}" for name, value in message.items() if name not in skipped and value is not None)
    if message["kind"] == "event":
        rest = f"{message['severity']}: {message['text']}"
    return f"{units.clock(message['time'])}  {message['kind']:<11}  {rest}"
