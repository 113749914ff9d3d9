"""`stoker train`: files in the foreground, one after the other, each to its verdict; no supervisor needed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoker.cli.add import Files, Name, Together, check_files, name_together
from stoker.cli.console import AsJson, note, print_json, say
from stoker.cli.evaluations import print_comparisons
from stoker.cli.lab import current_lab, open_reader
from stoker.cli.trials import compare_datasets
from stoker.errors import InvalidInput, UsageError, WorkerFailed

if TYPE_CHECKING:
    from stoker.supervisor.foreground import Outcome


def train(
    files: Files,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Train each file or dataset as a branch of the champion and compare them; nothing is promoted.",
        ),
    ] = False,
    together: Together = False,
    name: Name = "",
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Train files now, each to its verdict. Where a supervisor runs, they go to the head of its queue."""
    from stoker.cli.interrupts import stop_on_signals
    from stoker.cli.narration import Narrator
    from stoker.cli.up import log_to_file
    from stoker.supervisor.foreground import train_file

    if compare:
        if together or name:
            raise UsageError(
                "--compare and --together exclude each other", "branches are trained one by one", "choose one"
            )
        compare_datasets(files, as_json=as_json, quiet=quiet)
        return
    workspace = current_lab()
    check_files(files, together=together, name=name)
    log_to_file(workspace)
    outcomes: list[Outcome] = []
    with _chosen(files, together, name) as chosen, stop_on_signals() as stop, Narrator() as narrator:
        for file in chosen:
            outcome = train_file(
                workspace,
                file.absolute(),
                None if quiet else narrator.on_event,
                on_message=None if quiet else narrator.on_message,
                stop=stop.event,
            )
            outcomes.append(outcome)
            narrator.pause()
            if not as_json:
                _show(outcome, file.name)
            if stop.event.is_set():
                break
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    if stop.is_interrupted:
        note("interrupted; the same command goes on from the checkpoint")
        raise typer.Exit(130)
    for outcome in outcomes:
        _raise_for(outcome)


@contextlib.contextmanager
def _chosen(files: list[Path], together: bool, name: str) -> Iterator[list[Path]]:
    """Yield the files to train one after the other: those given, or their bundle for as long as it is needed."""
    if not together:
        yield files
        return
    from stoker.data.bundle import write_bundle

    with tempfile.TemporaryDirectory(prefix="stoker-together-") as folder:
        bundle = Path(folder) / name_together(files, name)
        write_bundle(files, bundle)
        yield [bundle]


def _show(outcome: Outcome, name: str) -> None:
    if outcome.run is None:
        say(f"{name}: {outcome.state}")
        return
    reader = open_reader()
    say(f"{name}: {outcome.run} {outcome.state}, {outcome.model}/v{outcome.version}")
    evaluations = [found["id"] for found in reader.evaluations() if found["run"] == outcome.run]
    if evaluations:
        print_comparisons(reader.comparisons(evaluations[-1]))
    if outcome.verdict:
        say(outcome.verdict["reason"])


def _raise_for(outcome: Outcome) -> None:
    if outcome.state in ("failed", "parked"):
        raise WorkerFailed(f"{outcome.run} {outcome.state}: {outcome.reason or 'no reason recorded'}")
    if outcome.state == "waiting":
        raise InvalidInput(
            f"{outcome.dataset} waits: its score is below check.stop_below",
            "a file this poor would cost a night",
            f"run: stoker data check {outcome.dataset}; to train it as it is: stoker data approve {outcome.dataset}",
        )
    if outcome.state in ("rejected", "empty"):
        raise InvalidInput(
            f"{outcome.dataset} has nothing to train on",
            outcome.reason or "",
            f"run: stoker data show {outcome.dataset}",
        )
