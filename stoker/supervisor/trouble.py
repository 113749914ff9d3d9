"""What keeps the supervisor from its work for a while, told once; and a store that is lost, which ends it.

A locked store or a full disk passes by itself: the turn is repeated, the worker goes on meanwhile. A store whose file was
deleted is written back from the connection that still holds it. One that was replaced or damaged under us can't be
trusted: StoreLost, and nothing more is written; the worker goes on and is found again by the next `stoker up`.
"""

from __future__ import annotations

import logging

from sqlalchemy.exc import DatabaseError, OperationalError

from stoker.errors import DiskFull, StoreLost
from stoker.store.records import Event
from stoker.store.store import Store
from stoker.supervisor.context import Context
from stoker.workspace import Workspace

log = logging.getLogger(__name__)

PASSING = (OperationalError, DiskFull, OSError)


class Trouble:
    """What is wrong just now, if anything."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._what: str | None = None
        self._since = 0.0

    def met(self, error: Exception) -> None:
        """Take up what cut a turn short: tell it when it is new. Raises StoreLost, or what does not pass by itself."""
        if is_damage(error):
            raise store_lost(self._context.workspace, f"the store is damaged ({_words(error)})") from error
        if not isinstance(error, PASSING):
            raise error
        what = _words(error)
        if what == self._what:
            return
        if self._what is None:
            self._since = self._context.now()
        self._what = what
        log.warning("the turn is repeated: %s", error)
        text = f"the lab can't be written for now ({what}); training goes on, and so does this once it passes"
        event = Event("warn", "store.unreachable", text, self._context.now(), data={})
        for listener in self._context.store.listeners:
            listener(event)  # to whoever watches: it can't be recorded now

    def over(self) -> None:
        """Take up that a turn was finished."""
        if self._what is None:
            return
        what, seconds = self._what, self._context.now() - self._since
        with self._context.store.transaction() as transaction:
            text = f"the lab could not be written for {seconds:.0f} s ({what}); nothing was lost"
            transaction.event("info", "store.back", text, seconds=round(seconds, 1))
        self._what = None

    def keep_store(self) -> None:
        """Put a store back whose file was deleted; StoreLost when another file is in its place or its folder is gone."""
        store = self._context.store
        if store.is_in_place():
            return
        if store.path.exists() or not store.path.parent.is_dir():
            raise store_lost(self._context.workspace, f"{store.path} was moved or replaced while the lab ran")
        put_back(store)


def put_back(store: Store) -> None:
    """Write a deleted store back, and tell it."""
    store.put_back()
    with store.transaction() as transaction:
        text = f"{store.path} was deleted while the lab ran and was written back whole"
        transaction.event("critical", "store.put-back", text)


def is_damage(error: Exception) -> bool:
    """Tell whether SQLite found the file damaged."""
    return isinstance(error, DatabaseError) and any(
        words in str(error) for words in ("malformed", "not a database", "file is encrypted")
    )


def refuse_lost_store(workspace: Workspace) -> None:
    """Refuse a lab that has runs but no store: a new one would give its runs' names and folders away again."""
    if workspace.store.exists() or not workspace.runs.is_dir() or not any(workspace.runs.iterdir()):
        return
    raise store_lost(workspace, f"{workspace.store} is gone, but the lab has runs")


def store_lost(workspace: Workspace, what: str) -> StoreLost:
    """Return the error with the way back."""
    copy, store = workspace.store_copy, workspace.store
    if copy.is_file():
        remedy = f"run: cp {copy} {store} (the last copy; what came after it is forgotten), then stoker up"
    else:
        remedy = f"put a backup of {store} back, or begin anew: move {workspace.state} away"
    return StoreLost(
        what, "it holds the queue, the runs and the verdicts; what lies in the folders is untouched", remedy
    )


def _words(error: Exception) -> str:
    found = getattr(error, "orig", None) or error
    return str(found)
