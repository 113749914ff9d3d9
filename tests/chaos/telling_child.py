"""A supervisor's part that tells, with events without end, to be killed: `python telling_child.py LAB RECEIVED`.

Its senders write what they get to RECEIVED and to the channel's journal, in that order, as a real one does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stoker.mailbox.journal import append_record
from stoker.notify.process import Sender, journal_path
from stoker.notify.send import Message
from stoker.spec.lab import LabSpec
from stoker.store.store import Store
from stoker.supervisor.context import Context
from stoker.supervisor.telling import Telling
from stoker.workspace import Workspace

ALERTS = {
    "channels": {"phone": "json://localhost:1"},
    "retry_seconds": 0.2,
    "max_per_hour": 1000,
    "retry_attempts": 100,
}


def telling(lab: Workspace, received: Path) -> tuple[Store, Telling]:
    def start(folder: Path, channel: str, url: str, messages: list[Message], *_: Any, **__: Any) -> Sender:
        for message in messages:
            append_record(received, {"key": message.key, "kind": message.kind, "thread": message.thread})
            outcome = {"alert": message.alert, "time": time.time(), "is_sent": True, "error": None}
            append_record(journal_path(folder, channel), outcome)
        child = subprocess.Popen(["true"])
        child.wait()
        return Sender(child, [message.alert for message in messages])

    store = Store(lab.store)
    store.claim()
    context = Context(lab, LabSpec.model_validate({"alerts": ALERTS}), store)
    return store, Telling(context, start)


def main() -> None:
    lab, received = Workspace(Path(sys.argv[1])), Path(sys.argv[2])
    store, part = telling(lab, received)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    number = time.time_ns()
    while True:
        number += 1
        with store.transaction() as transaction:
            transaction.event("critical", "run.failed", f"failed {number}", run=f"r{number}")
        part.tick()
        with store.transaction() as transaction:
            transaction.event("info", "run.done", f"done {number}", run=f"r{number}")
        part.tick()


if __name__ == "__main__":
    main()
