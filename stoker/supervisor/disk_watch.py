"""Disk that fills up: room is made, and if that is not enough the run pauses while a checkpoint still fits.

Needed is what `stoker.mailbox.checkpoints` says for the size of the run's newest checkpoint: the pause writes one before an older
one goes, and the version comes after it. A disk that fills faster than that ends the save (exit 76), as ever.
"""

from __future__ import annotations

from pathlib import Path

from stoker import units
from stoker.analysis.detectors.machine import disk_low
from stoker.durable import free_bytes
from stoker.mailbox import checkpoints
from stoker.store.records import RunRecord
from stoker.store.store import Transaction
from stoker.supervisor.context import Context
from stoker.supervisor.room import ask_to_make_room

RESUME_FACTOR = 1.1  # a little more than what was missing, so that a run does not swing around the mark


def needed_bytes(context: Context, run_folder: Path) -> int:
    """Return how much must be free for a run to go on safely."""
    return checkpoints.needed_bytes(context.spec.guard, checkpoints.newest_checkpoint_bytes(run_folder))


def is_short(context: Context, run: RunRecord) -> bool:
    """Tell whether less is free than the run needs."""
    workspace = context.workspace
    return free_bytes(workspace.state) < needed_bytes(context, workspace.run(run.id))


def ask_for_space(context: Context, transaction: Transaction, run: RunRecord) -> None:
    """Ask a running run to pause when there is still too little, whatever was made."""
    workspace = context.workspace
    needed, free = needed_bytes(context, workspace.run(run.id)), free_bytes(workspace.state)
    found = disk_low(free, needed)
    if found is None or run.wanted is not None or run.state != "running":
        return
    wanted = int(needed * RESUME_FACTOR)
    text = f"{units.size(free)} are free at {workspace.state}, {units.size(wanted)} needed"
    ask_to_make_room(transaction, run, "disk-full", wanted, found, text)
