"""Holding a lab: one supervisor at a time, by the kernel's lock and the store's fence.

The lock ends with its process however that ends; the fence refuses a writer that still believes it holds the lab.
`supervisor.json` says who holds it, for people.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from sqlalchemy.exc import DatabaseError

from stoker.durable import sweep, write_json
from stoker.errors import Busy, Damaged
from stoker.locks import FileLock, process_started_at
from stoker.store.store import Store
from stoker.supervisor.trouble import is_damage, refuse_lost_store, store_lost
from stoker.workspace import Workspace


@contextlib.contextmanager
def hold(workspace: Workspace) -> Iterator[Store]:
    """Take the lab and its store; Busy when another supervisor has it."""
    lock = FileLock(workspace.lock)
    try:
        lock.acquire()
    except Busy as busy:
        raise Busy(
            f"this lab already has a supervisor ({busy}); one lab has one: stoker status, or stoker down"
        ) from None
    try:
        for parent in (workspace.state, workspace.intents, workspace.rejected, workspace.datasets):
            sweep(parent)
        refuse_lost_store(workspace)
        store = _open(workspace)
        try:
            fence = store.claim()
            card = {"pid": os.getpid(), "started_at": process_started_at(os.getpid()), "fence": fence}
            write_json(workspace.supervisor, card)
            yield store
        finally:
            store.close()
        workspace.supervisor.unlink(missing_ok=True)
    finally:
        lock.release()


def _open(workspace: Workspace) -> Store:
    try:
        return Store(workspace.store)
    except Damaged as damage:
        raise store_lost(workspace, f"the store is damaged ({damage.reason})") from damage
    except DatabaseError as error:
        if is_damage(error):
            raise store_lost(workspace, f"the store is damaged ({error.orig})") from error
        raise
