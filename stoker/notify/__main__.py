"""The process that sends a channel's messages: `python -m stoker.notify FOLDER CHANNEL`, the work on stdin.

It keeps a slow or dead service away from the supervisor, goes on when the supervisor ends, and writes what became of
each message to the channel's journal. One at a time for a channel (a lock); a wall-clock limit ends it for certain.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from stoker.errors import Busy
from stoker.locks import FileLock
from stoker.mailbox.journal import JournalWriter
from stoker.notify.process import journal_path, lock_path
from stoker.notify.send import Message, NotSent, send

_SPARE_SECONDS = 30


def main() -> int:
    folder, channel = Path(sys.argv[1]), sys.argv[2]
    work = orjson.loads(sys.stdin.buffer.read() or b"{}")
    messages = [Message(**fields) for fields in work.get("messages", [])]
    if not messages:
        return 0  # whoever started this ended before saying what to send
    signal.alarm(int(_SPARE_SECONDS + len(messages) * (work["timeout_seconds"] + 1)))
    try:
        with FileLock(lock_path(folder, channel)).held():
            journal = JournalWriter(journal_path(folder, channel))
            for message in messages:
                journal.append({"alert": message.alert, "time": time.time(), **_outcome(work, message)})
                journal.sync()
    except Busy:
        return 1
    return 0


def _outcome(work: dict[str, Any], message: Message) -> dict[str, Any]:
    try:
        return {"is_sent": True, "by": send(work["url"], message, work["timeout_seconds"]), "error": None}
    except NotSent as error:
        return {"is_sent": False, "by": None, "error": str(error)}
    except Exception as error:  # noqa: BLE001 - a plugin of apprise may raise anything; its words may hold the URL
        return {"is_sent": False, "by": None, "error": f"the sender failed with {type(error).__name__}"}


if __name__ == "__main__":
    status = main()
    os._exit(status)  # a call that was given up may still hang in a thread, which an ordinary exit would wait for
