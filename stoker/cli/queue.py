"""`stoker queue`: what is trained next, and in which order."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from stoker.analysis.forecast import queue_etas
from stoker.cli import units
from stoker.cli.console import AsJson, Yes, confirm, note, print_json, print_table
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.errors import UsageError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The queue: order, priority, pause, retry.")


class Place(enum.StrEnum):
    FIRST = "first"
    LAST = "last"


JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, a prefix of it, or @latest.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the jobs that are not over, in the order in which they are taken."""
    reader = open_reader()
    jobs = reader.queue()
    ends, all_done = queue_etas(reader, jobs)
    if as_json:
        print_json([{**job, "eta": end.to_json() if end else None} for job, end in zip(jobs, ends, strict=True)])
        return
    rows = [
        (
            job["id"],
            job["state"],
            job["priority"],
            job["name"],
            job["dataset"],
            job["run"],
            units.eta(end),
            job["reason"] or "",
        )
        for job, end in zip(jobs, ends, strict=True)
    ]
    print_table(("id", "state", "priority", "file", "dataset", "run", "judged in", "why"), rows, numbers=("priority",))
    if all_done and len(jobs) > 1:
        note(f"all done in {units.eta(all_done)}; pauses not counted")
    if reader.status()["queue_paused"]:
        note("the queue is paused; go on with: stoker queue resume")
    elif not jobs:
        note("nothing is queued; add data with: stoker add FILE")


@app.command()
def move(
    job: JobId,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Put it before this job.")] = None,
    to: Annotated[Place | None, typer.Option(help="The place among all that wait.")] = None,
    priority: Annotated[int | None, typer.Option(help="A new priority; higher goes first.")] = None,
) -> None:
    """Move a waiting job: before another, to the first or last place, or to another priority."""
    given = [value for value in (before, to, priority) if value is not None]
    if len(given) != 1:
        raise UsageError("where to?", "a move has one destination", "add --before ID, --to first, or --priority NUMBER")
    if priority is not None:
        _ask("queue.priority", job, f"has priority {priority}", priority=priority)
        return
    other = open_reader().resolve("job", before) if before else None
    _ask("queue.move", job, "moved", before=other, to=to.value if to else None)


@app.command()
def pause(job: Annotated[str, typer.Argument(metavar="[ID]", help="One job; default: the whole queue.")] = "") -> None:
    """Hold a job back, or take no new job at all; a running one goes on to its end."""
    _ask("queue.pause", job, "held" if job else "paused; what runs now goes on")


@app.command()
def resume(job: Annotated[str, typer.Argument(metavar="[ID]", help="One job; default: the whole queue.")] = "") -> None:
    """Let a held job, or the queue, go on."""
    _ask("queue.resume", job, "goes on")


@app.command()
def remove(job: JobId, yes: Yes = False) -> None:
    """Take a job out of the queue; its data stays."""
    job_id = open_reader().resolve("job", job)
    confirm(f"take {job_id} out of the queue?", yes)
    _ask("queue.remove", job_id, "removed")


@app.command()
def retry(job: JobId) -> None:
    """Try a failed, parked or stopped job again, from its newest checkpoint."""
    _ask("queue.retry", job, "queued again")


def _ask(intent: str, job: str, outcome: str, **fields: object) -> None:
    workspace = current_lab()
    job_id = open_reader().resolve("job", job) if job else None
    ask_supervisor(
        workspace, intent, job=job_id, **{name: value for name, value in fields.items() if value is not None}
    )
    note(f"{job_id or 'the queue'} {outcome}")
