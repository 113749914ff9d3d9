"""Control: what the supervisor asks of a running task, in `control.jsonl` of the task's folder.

{"kind": "pause", "id": n}    checkpoint at the next step boundary and end with exit 75
{"kind": "stop", "id": n}     the same, and the run is over
{"kind": "set", "id": n, "request": {...}}       change parameters at the next step boundary (spec.jobs.Request)
{"kind": "rollback", "id": n, "request": {...}}  go back to a checkpoint and on from there
{"kind": "say", "id": n, "messages": [...], "sampling": {...}}   a chat: answer this conversation (spec.jobs.Sampling)
{"kind": "hush", "id": n}     a chat: end that answer here
{"kind": "end"}               a chat: it is over

A worker that is asked to end by a signal sees that as a pause of whatever it works on, with `reason` "signal".
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from stoker.mailbox.journal import JournalReader, append_record

CONTROL = "control.jsonl"


def send_control(folder: Path, kind: str, id: int = 0, **fields: Any) -> None:
    """Ask a task for something; it is read at the next step boundary."""
    append_record(folder / CONTROL, {"kind": kind, "id": id, **fields})


_received: list[int] = []  # signal handlers only set flags


def pause_on_signals() -> None:
    """From now on SIGTERM and SIGINT pause the running task instead of ending the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: _received.append(received))


def is_signalled() -> bool:
    """Tell whether such a signal came."""
    return bool(_received)


class ControlInbox:
    """A worker's end. Requests written before the worker took the task are history and are skipped."""

    def __init__(self, folder: Path) -> None:
        path = folder / CONTROL
        self._path = path
        self._reader = JournalReader(path, path.stat().st_size if path.exists() else 0)

    def read(self) -> list[dict[str, Any]]:
        """Return new requests; costs one stat when there are none."""
        asked_by_signal = [{"kind": "pause", "id": 0, "reason": "signal"}] if _received else []
        try:
            if self._path.stat().st_size == self._reader.offset:
                return asked_by_signal
        except FileNotFoundError:
            return asked_by_signal
        return self._reader.read() + asked_by_signal
