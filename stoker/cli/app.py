"""The tree of commands. What is in it works; what does not exist yet is not in the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stoker import __version__
from stoker.cli import (
    add,
    alerts,
    chat,
    config,
    data,
    demo,
    doctor,
    down,
    evaluations,
    generate,
    init,
    model,
    queue,
    reports,
    runs,
    serve,
    service,
    status,
    train,
    up,
)
from stoker.cli.lab import use_lab


def build() -> Any:
    """Return the root command."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="Fine-tune small language models on your own machine, every stage proven.",
    )
    app.callback()(root)
    for name, command in (
        ("init", init.init),
        ("up", up.up),
        ("down", down.down),
        ("status", status.status),
        ("add", add.add),
        ("train", train.train),
        ("generate", generate.generate),
        ("chat", chat.chat),
    ):
        app.command(name)(command)
    for name, group in (
        ("data", data.app),
        ("queue", queue.app),
        ("run", runs.app),
        ("eval", evaluations.app),
        ("model", model.app),
        ("report", reports.app),
        ("alert", alerts.app),
        ("config", config.app),
        ("serve", serve.app),
        ("service", service.app),
    ):
        app.add_typer(group, name=name)
    app.command("doctor")(doctor.doctor)
    app.command("demo")(demo.demo)
    return typer.main.get_command(app)


def root(
    lab: Annotated[
        Path | None,
        typer.Option(
            "--lab",
            "-C",
            envvar="STOKER_LAB",
            metavar="DIR",
            help="The lab to work in; default: the one that holds the current folder.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=lambda value: _version(value), help="Print the version."),
    ] = False,
) -> None:
    use_lab(lab)


def _version(value: bool) -> None:
    if value:
        print(f"stoker {__version__}")
        raise typer.Exit
