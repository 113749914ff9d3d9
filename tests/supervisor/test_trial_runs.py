"""A trial with real workers: two overlapping files as branches of one parent, its supervisor and worker killed on the way."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.durable import read_manifest
from stoker.mailbox.intents import post_intent
from stoker.store.reader import Reader
from stoker.supervisor.foreground import train_file, train_trial
from stoker.train.plan import load_plan
from stoker.workspace import Workspace

pytestmark = pytest.mark.slow

SETTINGS = """
[intake]
settle_seconds = 0.05
[split]
min_clusters = 8
[train]
checkpoint_steps = 2
batch_tokens = 256
threads = 1
[evaluate]
heldout_answers = 0
resamples = 200
[worker]
backoff_seconds = 0.0
"""
PROGRAM = """
import sys
from pathlib import Path
from stoker.spec.reading import read_settings
from stoker.supervisor.supervisor import Supervisor
from stoker.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
Supervisor(workspace, read_settings(workspace.settings)).run(until_idle=True)
"""


def rows(*numbers: int) -> bytes:
    lines = []
    for number in numbers:
        draw = random.Random(number)
        words = [f"{draw.choice('bdfgk')}{draw.choice('aeiou')}{draw.randrange(900)}" for _ in range(5)]
        lines.append(orjson.dumps({"prompt": f"Turn {' '.join(words)} {number}", "answer": " ".join(words[::-1])}))
    return b"\n".join(lines) + b"\n"


def make_lab(root: Path) -> tuple[Workspace, list[Path]]:
    workspace = Workspace(root)
    workspace.create()
    workspace.settings.write_text(SETTINGS)
    files = [root / "all.jsonl", root / "part.jsonl"]
    files[0].write_bytes(rows(*range(60)))
    files[1].write_bytes(rows(*range(25, 75)))
    return workspace, files


def up(workspace: Workspace) -> subprocess.Popen[bytes]:
    with (workspace.root / "supervisor.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(workspace.root)], stdout=log, stderr=log)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.03)


def weights(workspace: Workspace) -> dict[str, str]:
    return {f"v{row['version']}": row["weights_sha256"] for row in Reader(workspace).versions()}


def test_files_are_compared_as_branches_of_one_parent_through_kills(tmp_path: Path) -> None:
    workspace, files = make_lab(tmp_path / "calm")
    first = workspace.root / "first.jsonl"
    first.write_bytes(rows(*range(500, 540)))
    assert train_file(workspace, first).version == 1
    shutil.copytree(workspace.root, tmp_path / "disturbed")
    before = [row for row in Reader(workspace).versions() if row["champion"]]
    trial = train_trial(workspace, [{"path": str(path)} for path in files])

    reader = Reader(workspace)
    found = reader.trial(trial)
    assert (trial, found["state"], found["parent"]) == ("t1", "done", before[0]["version"])
    assert [(one["name"], one["state"], one["version"]) for one in found["branches"]] == [
        ("all.jsonl", "done", "main/v2"), ("part.jsonl", "done", "main/v3")
    ]  # fmt: skip
    assert [row for row in reader.versions() if row["champion"]] == before, "nothing is promoted"
    assert [row["outcome"] for row in reader.versions()][1:] == [None, None]
    facts = [read_manifest(workspace.version("main", version)) for version in (2, 3)]
    assert facts[0]["settings"] == facts[1]["settings"]
    assert facts[0]["parent_weights_sha256"] == facts[1]["parent_weights_sha256"] == before[0]["weights_sha256"]
    assert facts[0]["replay"] == facts[1]["replay"] == [reader.datasets()[0]["id"]]
    _every_row_of_each_file_trained(workspace, found, facts)

    result = orjson.loads((workspace.evaluation(found["evaluation"]) / "results.json").read_bytes())
    assert {(one["candidate"], one["against"]) for one in result["comparisons"]} == {("main/v2", "main/v3")}
    heldout = [one for one in result["intervals"] if one["benchmark"] == "heldout"]
    assert [one["model"] for one in heldout] == ["main/v2", "main/v3", "main/v1", "base"]
    assert len({one["n"] for one in heldout}) == 1 and all(one["low"] < one["score"] < one["high"] for one in heldout)
    assert heldout[0]["n"] == sum(one["held_out"] for one in reader.datasets()) - _copies(workspace)

    _disturbed(Workspace(tmp_path / "disturbed"), files, weights(workspace))


def _every_row_of_each_file_trained(workspace: Workspace, found: dict[str, Any], facts: list[dict[str, Any]]) -> None:
    """Rows that both files have are in each branch, though only the first dataset holds them; no sealed row is."""
    datasets = {one["id"]: one for one in Reader(workspace).datasets()}
    for branch, fact in zip(found["branches"], facts, strict=True):
        one = datasets[branch["dataset"]]
        assert fact["rows"] - fact["replay_rows"] == one["train"] + one["duplicate"] > 0
        assert load_plan(workspace.run(branch["run"]) / "plan.npz") is not None
    assert datasets[found["branches"][1]["dataset"]]["duplicate"] > 15


def _copies(workspace: Workspace) -> int:
    from stoker.data.dataset import Dataset

    folders = [workspace.dataset(one["id"]) for one in Reader(workspace).datasets()]
    sealed = [row.id for folder in folders for row in Dataset(folder).heldout_rows()]
    held_out = sum(one["held_out"] for one in Reader(workspace).datasets())
    return held_out - len(set(sealed))


def _disturbed(workspace: Workspace, files: list[Path], expected: dict[str, str]) -> None:
    """The same in a lab whose supervisor and worker are killed in the second branch: the same weights."""
    post_intent(workspace.intents, "compare", items=[{"path": str(path)} for path in files])
    supervisor = up(workspace)
    wait_for(lambda: _step(workspace, "r3") >= 3, "steps of the second branch")
    worker = Reader(workspace).status()["worker_pid"]
    supervisor.kill()
    supervisor.wait()
    if worker is not None:
        os.kill(worker, signal.SIGKILL)
    supervisor = up(workspace)
    assert supervisor.wait(timeout=400) == 0, (workspace.root / "supervisor.log").read_text()
    assert [(one["id"], one["state"]) for one in Reader(workspace).trials()] == [("t1", "done")]
    assert weights(workspace) == expected


def _step(workspace: Workspace, run: str) -> int:
    found = [one["step"] for one in Reader(workspace).runs() if one["id"] == run]
    return found[0] if found else 0
