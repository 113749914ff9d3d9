"""`python -m stoker.data FOLDER`: the intake process. It limits itself, reads job.json, and answers in messages.jsonl.

A hostile file can at worst end this process: its address space and CPU time are bounded, and it opens nothing else.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each BLAS thread reserves address space; none is of use here
os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("MIMALLOC_ARENA_RESERVE", "65536")  # KiB; rensa's allocator would reserve a gigabyte at import
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its own would reserve another

import contextlib
import ctypes
import gc
import logging
import resource
import signal
import sys
from pathlib import Path
from types import FrameType

from stoker.data.findings import FileRefused
from stoker.data.intake import take_in
from stoker.data.reading.source import MEGABYTE
from stoker.data.report import render_report
from stoker.errors import DiskFull, UserError, WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import IntakeJob, read_job

REPORT = "report.txt"
MIN_CPU_SECONDS = 300
CPU_SECONDS_PER_MEGABYTE = 5
_GRACE_SECONDS = 30
# Rows are made and dropped by the hundred thousand and hold no cycles: looking for some every 700 objects only costs.
_COLLECT_AFTER = 200_000

_M_ARENA_MAX = -8
"""Of glibc's mallopt(3). Its variable of the environment is read before Python begins; each thread's arena would take 64 MB of
address space."""

logger = logging.getLogger(__name__)


def main(folder: Path) -> WorkerExit:
    """Carry out the intake job in `folder`."""
    job = read_job(folder)
    assert isinstance(job, IntakeJob), f"{folder} holds a job of kind {job.kind}"
    outbox = Outbox(folder)
    try:
        _limit_self(job)
        gc.set_threshold(_COLLECT_AFTER)
        outbox.phase("start")
        summary = take_in(job, folder, outbox)
    except MemoryError:
        return _refuse(job, folder, outbox, _too_much_memory(job))
    except UserError as error:
        return _refuse(job, folder, outbox, error)
    except DiskFull as error:
        outbox.finished(WorkerExit.DISK_FULL, str(error))
        return WorkerExit.DISK_FULL
    except Exception as error:  # the process's boundary: the supervisor must hear how it ended
        logger.exception("intake of %s crashed", job.dataset.name)
        outbox.finished(WorkerExit.CRASH, f"{type(error).__name__}: {error}")
        return WorkerExit.CRASH
    outbox.send("result", summary=summary)
    outbox.finished(WorkerExit.DONE, output=str(job.dataset.folder))
    return WorkerExit.DONE


def _refuse(job: IntakeJob, folder: Path, outbox: Outbox, error: UserError) -> WorkerExit:
    (folder / REPORT).write_text(render_report(job.dataset.name, error), encoding="utf-8")
    line = error.line if isinstance(error, FileRefused) else None
    fields = {"what": error.what, "why": error.why, "remedy": error.remedy, "file": job.dataset.name, "line": line}
    outbox.finished(WorkerExit.BAD_CONFIG, str(error), **fields)
    return WorkerExit.BAD_CONFIG


def _limit_self(job: IntakeJob) -> None:
    memory_bytes = job.intake.memory_megabytes * MEGABYTE
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    seconds = MIN_CPU_SECONDS + CPU_SECONDS_PER_MEGABYTE * (job.file.stat().st_size // MEGABYTE)
    signal.signal(signal.SIGXCPU, _out_of_time)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _GRACE_SECONDS))


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise FileRefused("reading the file took too long", "its CPU time is limited", "split the file into smaller ones")


def _too_much_memory(job: IntakeJob) -> FileRefused:
    return FileRefused(
        f"{job.dataset.name} needs more memory than intake may use",
        f"intake.memory_megabytes = {job.intake.memory_megabytes}; a JSON document is read whole, JSONL line by line",
        "write it as JSONL, split it, or raise intake.memory_megabytes",
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sys.exit(main(Path(sys.argv[1])))
