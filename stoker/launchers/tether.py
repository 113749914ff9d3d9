"""`python -m stoker.launchers.tether FOLDER`: a program of another project that must not outlive who started it.

`command.json` in FOLDER names the program and the process to which it is tied. When that process is gone, or this one is asked
to end, the program's whole session is ended: SIGTERM, and SIGKILL once the grace is over. Where the kernel can, the
program also dies with this process, however that dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson

from stoker.launchers.local import lower_priority
from stoker.locks import is_same_process

COMMAND = "command.json"
_LOOK_SECONDS = 0.25
_GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the program; return its exit status."""
    command = orjson.loads((Path(arguments[0]) / COMMAND).read_bytes())
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    try:
        program = subprocess.Popen(
            command["argv"], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent
        )
    except OSError as error:
        sys.stderr.write(f"{command['argv'][0]} can't be started: {error.strerror}\n")
        return 127
    if command["nice"]:
        lower_priority(program.pid, command["nice"])
    while program.poll() is None:
        if asked or not is_same_process(command["parent"], command["parent_started_at"]):
            _end(program)
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(_LOOK_SECONDS)
    _signal_session(program.pid, signal.SIGKILL)  # what it started and left behind
    return program.returncode if program.returncode is not None else 1


def _end(program: subprocess.Popen[bytes]) -> None:
    _signal_session(program.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if program.poll() is None:
        _signal_session(program.pid, signal.SIGKILL)
        program.wait()


def _signal_session(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
