"""What an idle supervisor costs, and how soon the next run begins: a real lab, real processes.

First a lab with two queued files is worked through by `stoker up`: the time from the first one's verdict to the start of
the second one's first step. Then the supervisor idles: its memory and its share of a core over a minute.

    python benchmarks/idle.py [--seconds 60] [--rounds 3]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import psutil

from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.store.reader import Reader
from stoker.tasks.syllo.install import write_training_file
from stoker.workspace import Workspace

STOKER = [sys.executable, "-m", "stoker"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    waits = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            workspace = _lab(Path(folder) / "lab", number)
            supervisor = subprocess.Popen([*STOKER, "--lab", str(workspace.root), "up"], stdout=subprocess.DEVNULL)
            try:
                _until_done(workspace, 2)
                waits.append(_wait_between(workspace))
                memory, share = _idle(supervisor.pid, args.seconds if number == args.rounds - 1 else 1)
            finally:
                supervisor.terminate()
                supervisor.wait(60)
    body = (
        f"From the first verdict to the start of the next run's first step: {harness.spread(waits, 2)} s (limit 0.5 s; median and "
        f"range of {args.rounds} labs).\n\nIdle supervisor over {args.seconds:g} s: {memory / 1e6:.0f} MB resident (limit 150), "
        f"{share:.2%} of a core (limit 1 %)."
    )
    harness.write_section("Joins and idling", " ".join(["python benchmarks/idle.py", *sys.argv[1:]]), body)


def _lab(root: Path, seed: int) -> Workspace:
    subprocess.run([*STOKER, "init", str(root), "--base", "tiny"], check=True, stdout=subprocess.DEVNULL)
    for part in (1, 2):
        write_training_file(root / "inbox" / f"{part}.jsonl", 1500, 10 * seed + part, "easy")
    return Workspace(root)


def _until_done(workspace: Workspace, num_verdicts: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if workspace.store.exists() and sum(row["outcome"] is not None for row in _versions(workspace)) == num_verdicts:
            return
        time.sleep(1)
    raise SystemExit("the lab did not finish")


def _versions(workspace: Workspace) -> list[dict[str, Any]]:
    return Reader(workspace).versions()


def _wait_between(workspace: Workspace) -> float:
    """Seconds from the first evaluation's result to the moment the second run's first step began."""
    verdict = next(m for m in _messages(workspace.evaluation("e1")) if m["kind"] == "result")
    step = next(m for m in _messages(workspace.run("r2")) if m["kind"] == "step")
    return float(step["time"] - step["seconds"] - verdict["time"])


def _messages(folder: Path) -> list[dict[str, Any]]:
    return JournalReader(folder / MESSAGES).read(1 << 30)


def _idle(pid: int, seconds: float) -> tuple[int, float]:
    process = psutil.Process(pid)
    time.sleep(5)
    before, started = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return process.memory_info().rss, used / (time.monotonic() - started)


if __name__ == "__main__":
    main()
