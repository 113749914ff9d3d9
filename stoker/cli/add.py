"""`stoker add`: put files into the inbox, whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Annotated

import typer

from stoker.cli.console import note, say
from stoker.cli.lab import current_lab, is_up
from stoker.durable import STAGING_PREFIX, disk_full_named, fsync_path, require_free
from stoker.errors import InvalidInput, NotFound
from stoker.workspace import Workspace

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Data files.")]


def add(files: Files) -> None:
    """Copy data files into the inbox. The supervisor takes them from there, now or when it starts."""
    workspace = current_lab()
    for file in files:
        check_file(file)
    for file in files:
        say(str(copy_to_inbox(workspace, file)))
    if not is_up(workspace):
        note("in the inbox; train it with: stoker up")


def check_file(file: Path) -> None:
    """Raise when the file can't be added."""
    if not file.exists():
        raise NotFound(f"no file {file}", "", "check the path")
    if not file.is_file():
        raise InvalidInput(f"{file} is not a file", "the inbox takes files; a folder may be copied into it by hand", "")
    if not os.access(file, os.R_OK):
        raise InvalidInput(f"{file} can't be read", "its permissions forbid it", f"run: chmod u+r {file}")


def copy_to_inbox(workspace: Workspace, file: Path) -> Path:
    """Copy under a staging name, then rename: nobody ever sees half a file. An existing name gets a number."""
    workspace.inbox.mkdir(exist_ok=True)
    size = file.stat().st_size
    require_free(workspace.inbox, size)
    staging = workspace.inbox / f"{STAGING_PREFIX}{uuid.uuid4().hex[:8]}"
    with disk_full_named(workspace.inbox, size):
        try:
            shutil.copyfile(file, staging)
            fsync_path(staging)
            destination = _free_name(workspace.inbox / file.name)
            staging.rename(destination)
        finally:
            staging.unlink(missing_ok=True)
    fsync_path(workspace.inbox)
    return destination


def _free_name(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate
