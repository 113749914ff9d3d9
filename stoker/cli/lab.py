"""Which lab a command works in, how it reads it, and how it asks the supervisor for a change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.errors import NoSupervisor, UserError
from stoker.workspace import Workspace

if TYPE_CHECKING:
    from stoker.store.reader import Reader

REPLY_SECONDS = 15.0

_start: Path | None = None


def use_lab(start: Path | None) -> None:
    """Remember the lab given by `--lab` or STOKER_LAB for this command."""
    global _start
    _start = start


def current_lab() -> Workspace:
    """Return the lab; NotFound when the folder is none."""
    return Workspace.find(_start)


def open_reader() -> Reader:
    """Return the current lab's store, read only; it needs no supervisor."""
    from stoker.store.reader import Reader

    return Reader(current_lab())


def is_up(workspace: Workspace) -> bool:
    """Tell whether a supervisor runs in this lab."""
    from stoker.locks import is_locked

    return is_locked(workspace.lock)


def ask_supervisor(workspace: Workspace, kind: str, **fields: Any) -> dict[str, Any]:
    """Post an intent and return the supervisor's reply; its refusals are raised as they were there.

    NoSupervisor when none runs. No reply in time is not a failure: the intent stays and will be carried out.
    """
    from stoker.mailbox.intents import await_reply, post_intent

    if not is_up(workspace):
        raise NoSupervisor
    reply = await_reply(workspace.intents, post_intent(workspace.intents, kind, **fields), REPLY_SECONDS)
    if reply is None:
        return {"is_pending": True}
    error = reply.get("error")
    if error:
        refusal = UserError(error.get("what", "refused"), error.get("why", ""), error.get("remedy", ""))
        refusal.exit_code = int(error.get("exit_code", 1))
        raise refusal
    result: dict[str, Any] = reply.get("result") or {}
    return result
