"""Processes on this machine: workers and the intake, each `python -m MODULE FOLDER` in a session of its own.

A process goes on when its starter dies; a later starter finds it again by its exact command line (`find`) or its card,
and ends it by process id and start time, never by name. The environment is a short list of what training needs: no
other program's secrets reach it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from stoker.locks import is_same_process, process_started_at

_PASSED = ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "STOKER_FAULT")
_PASSED_PREFIXES = ("LC_", "XDG_", "PYTHON", "OMP_", "GOMP_", "MKL_")
_TRAINING_PREFIXES = (
    "HF_",
    "MALLOC_",
    "HUGGING",
    "TRANSFORMERS_",
    "TORCH",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "TRITON_",
    "SSL_",
    "REQUESTS_",
)
# glibc hands each large tensor back to the kernel and faults its pages in anew at every step; keeping them makes a
# 5 M model train 1.2 to 1.3 times as fast on a CPU (`benchmarks/training.py` measures with the same variables).
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
# A thread that spins 300,000 times (libgomp's default) before it sleeps holds its core while its partner waits for one:
# beside a program as busy as itself a two-thread trainer fell to a fiftieth. 1,000 turns kept 40 % there, and cost an
# idle machine at most 5 % with the smallest layers and nothing from 256 units on. OMP_WAIT_POLICY says otherwise.
_SPIN_BRIEFLY = {"GOMP_SPINCOUNT": "1000"}
FIRST_TO_GO = 500  # of 1000: as if it used half of the memory more than it does (proc_pid_oom_score_adj(5))
_TRAINING = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Process:
    """A process that this one started (`child`) or found."""

    pid: int
    started_at: float
    child: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)

    def is_alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return is_same_process(self.pid, self.started_at)

    def exit_status(self) -> int | None:
        """Return the status of an ended child, negative for a signal; None when it lives or was only found."""
        return None if self.child is None else self.child.poll()

    def memory_bytes(self) -> int:
        """Return the resident memory; 0 when the process is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss) if self.is_alive() else 0
        except psutil.Error:
            return 0


def start(
    module: str,
    folder: Path,
    *arguments: str,
    log: Path,
    nice: int = 0,
    threads: int | None = None,
    is_training: bool = True,
    variables: Sequence[str] = (),
) -> Process:
    """Start `python -m module folder arguments`, its output appended to `log`.

    `threads` bounds the numeric libraries; hub and GPU settings are passed on only when `is_training`. `variables` are
    names that it gets besides: what a job refers to.
    """
    command = command_line(module, folder, *arguments)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(threads=threads, is_training=is_training)
            | {name: os.environ[name] for name in variables if name in os.environ},
            start_new_session=True,
            close_fds=True,
        )
    if nice:
        lower_priority(child.pid, nice)
    offer_to_kernel(child.pid)
    return Process(child.pid, process_started_at(child.pid) or time.time(), child)


def lower_priority(pid: int, nice: int) -> None:
    """Let training go before process `pid`, which leads a session of its own.

    Where the kernel groups processes by session (sched_autogroup), niceness counts only inside a session, so the
    session gets it too: without that a neighbour at nice 19 takes its full share from a trainer in another session.
    """
    with contextlib.suppress(psutil.Error):  # it has ended already; its exit tells
        psutil.Process(pid).nice(nice)
    with contextlib.suppress(OSError):  # no such file where the kernel does not group by session
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def offer_to_kernel(pid: int) -> None:
    """Make process `pid` the one that the kernel ends first when memory runs out: it can go on from a checkpoint."""
    with contextlib.suppress(OSError):  # not Linux, or it has ended already
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(FIRST_TO_GO))


def command_line(module: str, folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, str(folder), *arguments]


def environment(*, threads: int | None, is_training: bool) -> dict[str, str]:
    """Return the variables a process gets: a short list, never the whole environment."""
    prefixes = _PASSED_PREFIXES + (_TRAINING_PREFIXES if is_training else ())
    names = _PASSED + (_TRAINING if is_training else ())
    kept = dict(_KEEP_MEMORY) if is_training else {}
    if is_training and "OMP_WAIT_POLICY" not in os.environ:
        kept |= _SPIN_BRIEFLY
    kept |= {name: value for name, value in os.environ.items() if name in names or name.startswith(prefixes)}
    kept["TOKENIZERS_PARALLELISM"] = "false"
    kept["PYTHONUNBUFFERED"] = "1"
    if threads is not None:
        kept["OMP_NUM_THREADS"] = kept["MKL_NUM_THREADS"] = str(threads)
    return kept


def find(module: str, folder: Path) -> list[Process]:
    """Return the living processes that run `module` on `folder`, whoever started them."""
    wanted = command_line(module, folder)[1:]
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if command[1 : len(wanted) + 1] == wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.append(Process(process.pid, process.create_time()))
        except psutil.Error:
            continue
    return found


def ask_to_end(process: Process) -> None:
    """Send SIGTERM: a worker saves a checkpoint and ends."""
    _signal(process, signal.SIGTERM)


def stop(process: Process, grace_seconds: float = 5.0) -> None:
    """End a process: SIGTERM, and SIGKILL once the grace is over. Returns when it is gone."""
    _signal(process, signal.SIGTERM)
    if not _wait(process, grace_seconds):
        kill(process)


def kill(process: Process) -> None:
    """End a process at once and wait until it is gone."""
    _signal(process, signal.SIGKILL)
    _wait(process, 10.0)


def _signal(process: Process, number: signal.Signals) -> None:
    if not process.is_alive():
        return
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return


def _wait(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
