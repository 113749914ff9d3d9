"""Named fault points, so that tests can end a process at any durable write.

`STOKER_FAULT=checkpoint.rename:kill` ends the process with SIGKILL when that point is reached;
`:enospc` raises "no space left" there; `:kill@3` waits for the third time. Unset, a point costs one
dictionary look-up. Nothing else in Stoker reads this variable.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter

_reached: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Do what STOKER_FAULT asks for at `name`: nothing, SIGKILL, or OSError(ENOSPC)."""
    wanted = os.environ.get("STOKER_FAULT")
    if not wanted or not wanted.startswith(name + ":"):
        return
    action, _, nth = wanted.removeprefix(name + ":").partition("@")
    _reached[name] += 1
    if _reached[name] != int(nth or 1):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "enospc":
        raise OSError(errno.ENOSPC, f"fault point {name}")
