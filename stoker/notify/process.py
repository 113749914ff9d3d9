"""Starting a sender and hearing what it did. The URL goes through a pipe: never on a command line, never to a disk."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import psutil

from stoker.locks import is_locked
from stoker.mailbox.journal import JournalReader
from stoker.notify.send import Message

_PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "DISPLAY",
    "WAYLAND_DISPLAY",
)
_PASSED_PREFIXES = ("LC_", "XDG_", "PYTHON", "DBUS_", "SSL_", "REQUESTS_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # fmt: skip


class Sender:
    """A process at work for one channel. `alerts`: the ids it was given."""

    def __init__(self, child: subprocess.Popen[bytes], alerts: Sequence[int]) -> None:
        self.child, self.alerts = child, tuple(alerts)

    @property
    def is_alive(self) -> bool:
        return self.child.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait for its end, and end it when it takes longer."""
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def start(
    folder: Path, channel: str, url: str, messages: Sequence[Message], timeout_seconds: float, *, nice: int = 0
) -> Sender:
    """Start a sender for `channel`; its journal and lock are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    work = {"url": url, "timeout_seconds": timeout_seconds, "messages": [asdict(message) for message in messages]}
    environment = {
        name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "stoker.notify", str(folder), channel],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    if nice:
        with contextlib.suppress(psutil.Error):
            psutil.Process(child.pid).nice(nice)
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended already; that it said nothing tells
        child.stdin.write(orjson.dumps(work))
        child.stdin.close()
    return Sender(child, [message.alert for message in messages])


def is_sending(folder: Path, channel: str) -> bool:
    """Tell whether a sender, of this supervisor or an earlier one, is at work for a channel."""
    return is_locked(lock_path(folder, channel))


def heard(folder: Path, channel: str, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Return what senders said of a channel's messages after `offset`, and the new offset."""
    reader = JournalReader(journal_path(folder, channel), offset)
    return reader.read(), reader.offset


def journal_path(folder: Path, channel: str) -> Path:
    return folder / f"{channel}.jsonl"


def lock_path(folder: Path, channel: str) -> Path:
    return folder / f"{channel}.lock"
