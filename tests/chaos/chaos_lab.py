"""A small real lab to be disturbed: made, run in a process of its own, and read when it is over.

`python chaos_lab.py ROOT` works through the lab until it is idle, as `stoker up --until-idle` does.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from stoker.durable import verify_folder
from stoker.spec.reading import read_settings
from stoker.store.reader import Reader
from stoker.supervisor.supervisor import Supervisor
from stoker.workspace import Workspace

SETTINGS = """
[intake]
settle_seconds = 0.1
[train]
checkpoint_steps = 2
checkpoint_seconds = 1000.0
batch_tokens = 256
threads = 1
[evaluate]
heldout_answers = 2
max_new_tokens = 4
resamples = 200
[worker]
backoff_seconds = 0.0
max_attempts = 100000
"""
NUM_FILES = 3
NUM_ROWS = 96


def make_lab(root: Path, num_files: int = NUM_FILES, num_rows: int = NUM_ROWS, settings: str = "") -> Workspace:
    """Make a lab whose inbox holds the files, the same ones each time."""
    workspace = Workspace(root)
    workspace.create()
    workspace.settings.write_text(SETTINGS + settings)
    for number in range(num_files):
        draw = random.Random(number)
        rows = [_row(draw, line) for line in range(num_rows)]
        (workspace.inbox / f"file-{number}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n")
    return workspace


def start(workspace: Workspace, fault: str | None = None) -> subprocess.Popen[bytes]:
    """Start a supervisor; workers that it starts run with the fault."""
    environment = {name: value for name, value in os.environ.items() if name != "STOKER_FAULT"}
    environment |= {"OMP_NUM_THREADS": "1", **({"STOKER_FAULT": fault} if fault else {})}
    with (workspace.root / "supervisor.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, __file__, str(workspace.root)], stdout=output, stderr=output, env=environment
        )


def observe(workspace: Workspace) -> dict[str, Any]:
    """Return what must be the same in a disturbed lab and an undisturbed one."""
    reader = Reader(workspace)
    runs = reader.runs()
    trained: Counter[str] = Counter()
    for version in reader.versions():
        manifest = verify_folder(workspace.version(version["model"], version["version"]))
        trained.update(manifest["datasets"])
    return {
        "inbox": sorted(path.name for path in workspace.inbox.iterdir()),
        "rejected": sorted(path.name for path in workspace.rejected.iterdir()),
        "datasets": reader.datasets(),
        "trained": dict(trained),
        "runs": runs,
        "steps": {run["id"]: [(step["step"], step["loss"], step["tokens"]) for step in reader.metrics(run["id"])] for run in runs},
        "versions": [{name: row[name] for name in row if name != "created"} for row in reader.versions()],
        "comparisons": reader.comparisons(),
    }  # fmt: skip


def integrity(workspace: Workspace) -> str:
    """Return SQLite's own word on the store."""
    with Reader(workspace).connect() as connection:
        return str(connection.exec_driver_sql("PRAGMA integrity_check").scalar())


def put_aside(workspace: Workspace) -> list[int]:
    """Return the lines of the second file that training quarantined."""
    reader = Reader(workspace)
    second = next(dataset["id"] for dataset in reader.datasets() if dataset["name"].startswith("file-1"))
    return [row["line"] for row in reader.dataset_detail(second)["quarantined_in_training"]]


def _row(draw: random.Random, line: int) -> dict[str, str]:
    words = [f"{draw.choice('bdfgklmnprst')}{draw.choice('aeiou')}{draw.randrange(900)}" for _ in range(6)]
    return {
        "prompt": f"Turn {' '.join(words[:4])} round, please, case {line}.",
        "answer": f"{' '.join(reversed(words))}.",
    }


def _main(root: Path) -> None:
    workspace = Workspace(root)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Supervisor(workspace, read_settings(workspace.settings)).run(until_idle=True, stop=stop)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
