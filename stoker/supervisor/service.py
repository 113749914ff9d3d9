"""Being a systemd service: telling it that the lab is up, that the loop still turns, and that it ends (sd_notify(3)).

The protocol is a datagram of NAME=VALUE lines to the socket in NOTIFY_SOCKET; without that variable everything here does
nothing. The watchdog is fed by the loop itself, so a loop that stands still is restarted; a worker never waits for it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Service:
    """The service manager's ear, if there is one. Workers do not get its variables (`launchers/local`)."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        self._address = variables.get("NOTIFY_SOCKET", "")
        limit_microseconds = variables.get("WATCHDOG_USEC", "")
        is_for_us = variables.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_seconds = int(limit_microseconds) / 1e6 if limit_microseconds.isdigit() and is_for_us else 0.0
        self._fed_at = 0.0

    def ready(self, what: str) -> None:
        """Tell that the lab is up."""
        self._tell("READY=1", f"STATUS={what}", f"MAINPID={os.getpid()}")

    def alive(self) -> None:
        """Feed the watchdog, three times as often as it asks for."""
        now = time.monotonic()
        if self._watchdog_seconds and now - self._fed_at >= self._watchdog_seconds / 3:
            self._fed_at = now
            self._tell("WATCHDOG=1")

    def stopping(self, what: str) -> None:
        """Tell that the lab ends."""
        self._tell("STOPPING=1", f"STATUS={what}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # "@" stands for the abstract namespace, whose names begin with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            return  # a manager that does not listen is no reason to stop
