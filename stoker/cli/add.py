"""`stoker add`: put files into the inbox, whole or not at all, one by one or together as one dataset."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from stoker.cli.console import note, say
from stoker.cli.lab import ask_supervisor, current_lab, is_up, open_reader
from stoker.durable import STAGING_PREFIX, disk_full_named, fsync_path, require_free
from stoker.errors import InvalidInput, NotFound, UsageError
from stoker.workspace import Workspace

Before = Callable[[Path], None]

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Data files.")]
Together = Annotated[bool, typer.Option("--together", help="Make all files one dataset with one job.")]
Replaces = Annotated[
    str, typer.Option("--replaces", metavar="ID", help="The dataset that the file is a new version of, in its place.")
]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="What the files are called together.")]


def add(files: Files, replaces: Replaces = "", together: Together = False, name: Name = "") -> None:
    """Copy data files into the inbox. The supervisor takes them from there, now or when it starts."""
    workspace = current_lab()
    check_files(files, together=together, name=name)
    if replaces and len(files) > 1 and not together:
        raise UsageError("several files can't each replace a dataset", "one takes its place", "add --together")
    before = _declaration(workspace, replaces)
    if together:
        say(str(bundle_to_inbox(workspace, files, name_together(files, name), before)))
    else:
        for file in files:
            say(str(copy_to_inbox(workspace, file, before)))
    if not is_up(workspace):
        note("in the inbox; train it with: stoker up")


def check_files(files: Sequence[Path], *, together: bool, name: str) -> None:
    """Raise when one of the files can't be added, or when the options contradict each other."""
    if name and not together:
        raise UsageError("--name is for files taken together", "a single file keeps its own name", "add --together")
    if "/" in name or name.startswith("."):
        raise UsageError(f"{name!r} is no file name", "the files are called this in the lab", "write a plain name")
    for file in files:
        check_file(file)


def name_together(files: Sequence[Path], name: str) -> str:
    """Return the name of the bundle of these files."""
    from stoker.data.bundle import bundle_name

    return bundle_name(files) if not name else name if name.endswith(".zip") else f"{name}.zip"


def check_file(file: Path) -> None:
    """Raise when the file can't be added."""
    if not file.exists():
        raise NotFound(f"no file {file}", "", "check the path")
    if not file.is_file():
        raise InvalidInput(f"{file} is not a file", "the inbox takes files; a folder may be copied into it by hand", "")
    if not os.access(file, os.R_OK):
        raise InvalidInput(f"{file} can't be read", "its permissions forbid it", f"run: chmod u+r {file}")


def _declaration(workspace: Workspace, replaces: str) -> Before:
    """Return what is to be done before a file is in the inbox: say which dataset it replaces.

    The supervisor takes intents before files, so the file finds its declaration; without a supervisor it waits.
    """
    from stoker.durable import sha256_file
    from stoker.mailbox.intents import post_intent

    if not replaces:
        return lambda staging: None
    dataset = open_reader().resolve("dataset", replaces)

    def declare(staging: Path) -> None:
        fields = {"sha256": sha256_file(staging), "dataset": dataset}
        if is_up(workspace):
            ask_supervisor(workspace, "data.replaces", **fields)
        else:
            workspace.create()
            post_intent(workspace.intents, "data.replaces", **fields)

    return declare


def copy_to_inbox(workspace: Workspace, file: Path, before: Before = lambda staging: None) -> Path:
    """Copy under a staging name, then rename: nobody ever sees half a file. An existing name gets a number."""
    return _publish(workspace, file.name, file.stat().st_size, lambda staging: shutil.copyfile(file, staging), before)


def bundle_to_inbox(workspace: Workspace, files: Sequence[Path], name: str, before: Before) -> Path:
    """Put the files into the inbox as one bundle, in the same way."""
    from stoker.data.bundle import write_bundle

    size = sum(file.stat().st_size for file in files)
    return _publish(workspace, name, size, lambda staging: write_bundle(files, staging), before)


def _publish(workspace: Workspace, name: str, size: int, write: Callable[[Path], object], before: Before) -> Path:
    workspace.inbox.mkdir(exist_ok=True)
    require_free(workspace.inbox, size)
    staging = workspace.inbox / f"{STAGING_PREFIX}{uuid.uuid4().hex[:8]}"
    with disk_full_named(workspace.inbox, size):
        try:
            write(staging)
            fsync_path(staging)
            before(staging)
            destination = _free_name(workspace.inbox / name)
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
