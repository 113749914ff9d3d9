"""The systemd unit that keeps a lab running: written from the lab's paths, installed by `stoker service install`.

It restarts the supervisor when it fails or stands still, not when a person has to act first (exit codes 2 to 5), and
waits for the checkpoint when it stops. KillMode=mixed: the supervisor alone is asked to end, and ends its worker with a
checkpoint; whatever is left after that is killed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from stoker.errors import InvalidInput
from stoker.supervisor.supervisor import SAVE_GRACE_SECONDS
from stoker.supervisor.workers import END_GRACE_SECONDS
from stoker.workspace import Workspace

WATCHDOG_SECONDS = 900  # a turn that copies a very large file takes minutes
START_SECONDS = 300
_UNIT = """\
# Written by `stoker service`; write it again after moving the lab or the Python environment.
[Unit]
Description=Stoker lab {name}
After=network-online.target
StartLimitIntervalSec=600
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={python} -m stoker --lab {lab} up
WorkingDirectory={folder}
Environment=PYTHONUNBUFFERED=1
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 3 4 5
WatchdogSec={watchdog}
TimeoutStartSec={start}
TimeoutStopSec={stop}
KillMode=mixed
{priority}
[Install]
WantedBy={target}
"""


def unit_text(workspace: Workspace, *, is_system: bool, user: str = "", python: str = sys.executable) -> str:
    """Return the unit of a lab: of the user's own manager, or of the system's, where it runs as `user`."""
    root = str(workspace.root)
    # The kernel takes a worker before the supervisor; only the system's manager may ask for that.
    priority = f"OOMScoreAdjust=-500\nUser={user}\n" if is_system else ""
    return _UNIT.format(
        name=_plain(workspace.root.name), python=_quoted(python), lab=_quoted(root), folder=_escaped(root),
        watchdog=WATCHDOG_SECONDS, start=START_SECONDS, stop=int(SAVE_GRACE_SECONDS + 2 * END_GRACE_SECONDS + 20),
        priority=priority, target="multi-user.target" if is_system else "default.target",
    )  # fmt: skip


def unit_name(workspace: Workspace) -> str:
    return f"stoker-{_plain(workspace.root.name)}.service"


def unit_folder(*, is_system: bool, home: Path | None = None) -> Path:
    """Return where the manager looks for units that an administrator or a user wrote."""
    return Path("/etc/systemd/system") if is_system else (home or Path.home()) / ".config" / "systemd" / "user"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "lab"


def _escaped(path: str) -> str:
    """Return a path as a unit's setting has it: % begins a specifier, a line ends the setting."""
    if "\n" in path:
        raise InvalidInput(f"the path {path!r} has a line break", "no systemd unit can name it", "move the lab")
    return path.replace("%", "%%")


def _quoted(path: str) -> str:
    """Return a path as one word of a command line in a unit."""
    text = _escaped(path).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"'
