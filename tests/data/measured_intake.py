"""One file through the intake process, with its last word and what it used."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from small_lab import SmallLab

from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.spec.jobs import JOB
from stoker.spec.lab import IntakeSpec

MEGABYTES = 512
# Started by a small process: the largest memory of a child counts from the process that it is split from.
_PROGRAM = """
import os, sys
with open(sys.argv[1] + "/log.txt", "wb") as log:
    files = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
    command = [sys.argv[2], "-m", "stoker.data", sys.argv[1]]
    usage = os.wait4(os.posix_spawn(command[0], command, os.environ, file_actions=files), 0)[2]
print(usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)
"""


@dataclass
class Outcome:
    last: dict[str, Any]
    summary: dict[str, Any] | None
    log: str
    memory_megabytes: float
    cpu_seconds: float


def take_measured(lab: SmallLab, content: bytes, name: str) -> Outcome:
    """Take a file in by a process of its own, with an address space of MEGABYTES."""
    lab.intake = IntakeSpec(memory_megabytes=MEGABYTES, allow_unproven=True)
    job, folder = lab.job(content, name)
    (folder / JOB).write_text(job.model_dump_json())
    program = [sys.executable, "-S", "-c", _PROGRAM, str(folder), sys.executable]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    memory, seconds = map(float, done.stdout.split())
    messages = JournalReader(folder / MESSAGES).read(1 << 30) if (folder / MESSAGES).exists() else []
    summary = next((message["summary"] for message in messages if message["kind"] == "result"), None)
    return Outcome(messages[-1] if messages else {}, summary, (folder / "log.txt").read_text()[-600:], memory, seconds)
