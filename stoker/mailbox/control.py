"""Control: what the supervisor asks of a running task, in `control.jsonl` of the task's folder.

{"kind": "pause", "id": n}    checkpoint at the next step boundary and end with exit 75
{"kind": "stop", "id": n}     the same, and the run is over
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoker.mailbox.journal import JournalReader, append_record

CONTROL = "control.jsonl"


def send_control(folder: Path, kind: str, id: int = 0, **fields: Any) -> None:
    """Ask a task for something; it is read at the next step boundary."""
    append_record(folder / CONTROL, {"kind": kind, "id": id, **fields})


class ControlInbox:
    """A worker's end. Requests written before the worker took the task are history and are skipped."""

    def __init__(self, folder: Path) -> None:
        path = folder / CONTROL
        self._path = path
        self._reader = JournalReader(path, path.stat().st_size if path.exists() else 0)

    def read(self) -> list[dict[str, Any]]:
        """Return new requests; costs one stat when there are none."""
        try:
            if self._path.stat().st_size == self._reader.offset:
                return []
        except FileNotFoundError:
            return []
        return self._reader.read()
