"""`stoker run set`, `rollback` and `skip`: a run steered on its way, at its next step boundary."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.errors import InvalidInput, UsageError

_ANSWER_SECONDS = 15.0
_TOLD_EVENTS = 200

RunId = Annotated[str, typer.Argument(metavar="ID", help="A run's id, a prefix of it, @latest or @best.")]


def set_(
    run: RunId,
    changes: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="For example lr=5e-5 batch_size=8.")],
    as_json: AsJson = False,
) -> None:
    """Change parameters of a run from its next step on: all that are named, or none.

    These can change: lr (learning_rate), batch_tokens, batch_size, accumulation, max_grad_norm, weight_decay,
    max_skipped_steps, checkpoint_steps, checkpoint_seconds. A run that is paused or waits takes them at its start.
    """
    from stoker.spec.live import read_changes

    workspace, run_id = current_lab(), open_reader().resolve("run", run)
    reply = ask_supervisor(workspace, "run.set", run=run_id, changes=read_changes(changes))
    _show_answer(run_id, reply, as_json=as_json)


def rollback(
    run: RunId = "@latest",
    to: Annotated[
        str, typer.Option("--to", metavar="best|STEP", help="The best checkpoint, or that of a step; 0: the start.")
    ] = "best",
    as_json: AsJson = False,
) -> None:
    """Go back to a checkpoint, weights, optimizer and random states included, and on from there."""
    if to != "best" and not to.isdecimal():
        raise UsageError(f"--to {to} is no step", "it is best, or a checkpoint's step", "for example: --to best")
    workspace, run_id = current_lab(), open_reader().resolve("run", run)
    reply = ask_supervisor(workspace, "run.rollback", run=run_id, to=to if to == "best" else int(to))
    _show_answer(run_id, reply, as_json=as_json)


def skip(run: RunId = "@latest") -> None:
    """Leave a run's file: the run ends at its next step, its job leaves the queue, the next one goes on.

    Nothing of it is published and the file is not trained. `queue retry` takes the job up again where it was left.
    """
    run_id = open_reader().resolve("run", run)
    ask_supervisor(current_lab(), "run.skip", run=run_id)
    note(f"{run_id} is left at its next step; the next job goes on")


def story(detail: dict[str, Any]) -> None:
    """Print what happened to a run, in order: all of it but the oldest of very many."""
    events = detail["events"][-_TOLD_EVENTS:]
    print_table(("time", "severity", "what happened"), [(units.clock(one["time"]), one["severity"], one["text"]) for one in events])  # fmt: skip
    if hidden := len(detail["events"]) - len(events):
        note(f"{hidden} earlier events are left out; see: stoker run show {detail['id']} --json")


def _show_answer(run_id: str, reply: dict[str, Any], *, as_json: bool) -> None:
    """Wait for the worker's answer while it has the run, and show what came of the request."""
    changes = _answer(run_id, reply.get("request"))
    if as_json:
        print_json(changes)
    elif not changes or changes[0]["state"] == "requested":
        note(f"{run_id} takes it up at its next step; see: stoker run show {run_id}")
    for change in changes:
        if change["state"] == "rejected":
            raise InvalidInput(f"{run_id} keeps its {change['name']}", change["reason"] or "", "nothing was changed")
        if change["state"] == "applied" and not as_json:
            old, new = _plain(change["old"]), _plain(change["new"])
            note(f"{change['name']} {old} -> {new}, from step {change['step'] + 1} on")


def _answer(run_id: str, request: str | None) -> list[dict[str, Any]]:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        detail = open_reader().run_detail(run_id)
        found = [change for change in detail["changes"] if change["request"] == request]
        is_open = any(change["state"] == "requested" for change in found)
        if not is_open or detail["state"] != "running" or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
