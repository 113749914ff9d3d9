"""`stoker service`: the lab as a service of systemd, which starts it with the machine and again after a failure."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from stoker.cli.console import Yes, note
from stoker.cli.lab import current_lab
from stoker.errors import NotAllowed

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The lab as a systemd service.")

System = Annotated[
    bool, typer.Option("--system", help="For the system's manager (as root); default: the user's own manager.")
]


@app.command("show")
def show(system: System = False) -> None:
    """Print the unit of this lab."""
    from stoker.supervisor.unit import unit_text

    print(unit_text(current_lab(), is_system=system, user=getpass.getuser()), end="")


@app.command("install")
def install(system: System = False, yes: Yes = False) -> None:
    """Write the unit to where systemd finds it, and say how to start it. Nothing is started."""
    from stoker.durable import write_atomic
    from stoker.supervisor.unit import unit_folder, unit_name, unit_text

    workspace = current_lab()
    path = unit_folder(is_system=system) / unit_name(workspace)
    text = unit_text(workspace, is_system=system, user=getpass.getuser())
    if path.exists() and path.read_text("utf-8") != text and not yes:
        raise NotAllowed(f"{path} exists and says something else", "it may be another lab's", "look at it, then --yes")
    write_atomic(path, text.encode())
    manager = "systemctl" if system else "systemctl --user"
    note(f"wrote {path}")
    note(f"start it, now and with the machine: {manager} daemon-reload && {manager} enable --now {path.name}")
    if not system:
        note("to keep it running while nobody is logged in: loginctl enable-linger")
