"""`stoker up`: the supervisor of the lab, in the foreground."""

from __future__ import annotations

import logging
import logging.handlers
from typing import Annotated

import typer

from stoker.cli.console import note
from stoker.cli.lab import current_lab
from stoker.errors import WorkerFailed
from stoker.workspace import Workspace


def up(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is left to do.")] = False,
) -> None:
    """Run the lab. It takes files in, trains, evaluates and promotes until Ctrl-C or `stoker down`."""
    from stoker.cli.interrupts import stop_on_signals
    from stoker.cli.narration import Narrator
    from stoker.spec.reading import read_settings
    from stoker.supervisor.supervisor import Supervisor

    workspace = current_lab()
    spec = read_settings(workspace.settings)
    log_to_file(workspace)
    note(f"lab {workspace.root}, base {spec.model.base}; drop files into {workspace.inbox}")
    with stop_on_signals() as stop, Narrator() as narrator:
        supervisor = Supervisor(workspace, spec, on_event=narrator.on_event, on_message=narrator.on_message)
        supervisor.run(until_idle=until_idle, stop=stop.event)
    if stop.is_interrupted:
        raise typer.Exit(130)
    if until_idle and narrator.num_failed_runs:
        raise WorkerFailed(f"{narrator.num_failed_runs} run(s) failed or were parked; see: stoker run list")


def log_to_file(workspace: Workspace) -> None:
    """Send the log of this process to the lab's own file, which is kept small."""
    workspace.create()
    handler = logging.handlers.RotatingFileHandler(
        workspace.supervisor_log, maxBytes=4 << 20, backupCount=1, delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, logging.handlers.RotatingFileHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    logging.getLogger("stoker").setLevel(logging.INFO)
