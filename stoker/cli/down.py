"""`stoker down`: end the supervisor of the lab."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated

import typer

from stoker.cli import units
from stoker.cli.console import note
from stoker.cli.lab import current_lab, is_up
from stoker.errors import NoSupervisor, WorkerFailed


def down(
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds to wait for the checkpoint and the end.")] = 120.0,
) -> None:
    """End the supervisor. A running step is finished and a checkpoint saved; `stoker up` goes on from there."""
    import orjson

    from stoker.locks import is_same_process

    workspace = current_lab()
    if not is_up(workspace):
        raise NoSupervisor
    card = orjson.loads(workspace.supervisor.read_bytes())
    pid, started_at = int(card["pid"]), float(card["started_at"])
    if is_same_process(pid, started_at):
        os.kill(pid, signal.SIGTERM)
    begun = time.monotonic()
    while is_up(workspace):
        if time.monotonic() - begun > timeout:
            raise WorkerFailed(f"the supervisor (process {pid}) still saves after {units.duration(timeout)}")
        time.sleep(0.1)
    note(f"down after {units.duration(time.monotonic() - begun)}")
