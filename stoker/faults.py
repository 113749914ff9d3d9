"""Named fault points, so that tests can end a process at any durable write.

`STOKER_FAULT=checkpoint.rename:kill` ends the process with SIGKILL when that point is reached;
`:enospc` raises "no space left" there; `:kill@3` waits for the third time. `STOKER_FAULT=step.loss:nan@30-32` spoils the
losses of the 30th to the 32nd step that a process computes (`inf`, `x100`: a hundred times; `oom`: no memory is left).
`STOKER_FAULT=@PATH` is what the file at PATH holds at that moment, counted from there on: a fault that is switched on and
off while a process lives. Unset, a point costs one dictionary look-up. Nothing else in Stoker reads this variable.
"""

from __future__ import annotations

import errno
import math
import os
import signal
from collections import Counter
from pathlib import Path

_reached: Counter[str] = Counter()
_FACTORS = {"nan": math.nan, "inf": math.inf, "x100": 100.0}


def fault_point(name: str) -> None:
    """Do what STOKER_FAULT asks for at `name`: nothing, SIGKILL, or OSError(ENOSPC)."""
    wanted = _wanted()
    if not wanted or not wanted.startswith(name + ":"):
        return
    action, _, nth = wanted.removeprefix(name + ":").partition("@")
    _reached[wanted] += 1
    if _reached[wanted] != int(nth or 1):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "enospc":
        raise OSError(errno.ENOSPC, f"fault point {name}")


def fault_factor(name: str) -> float | None:
    """Return what STOKER_FAULT multiplies a value by at this time of asking, None for nothing; MemoryError for `oom`."""
    wanted = _wanted()
    if not wanted or not wanted.startswith(name + ":"):
        return None
    action, _, times = wanted.removeprefix(name + ":").partition("@")
    first, _, last = times.partition("-")
    _reached[wanted] += 1
    if not int(first or 1) <= _reached[wanted] <= int(last or first or 1):
        return None
    if action == "oom":
        raise MemoryError(f"fault point {name}")
    return _FACTORS[action]


def _wanted() -> str | None:
    wanted = os.environ.get("STOKER_FAULT")
    if not wanted or not wanted.startswith("@"):
        return wanted
    try:
        return Path(wanted[1:]).read_text("utf-8").strip()
    except FileNotFoundError:
        return None
