"""A lab with a real worker: trained in the foreground, paused, resumed, its supervisor killed and ended in mid-run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.locks import is_locked
from stoker.mailbox.intents import await_reply, post_intent
from stoker.spec.reading import read_settings
from stoker.store.reader import Reader
from stoker.supervisor.foreground import train_file
from stoker.supervisor.supervisor import Supervisor
from stoker.workspace import Workspace

pytestmark = pytest.mark.slow

SETTINGS = """
[intake]
settle_seconds = 0.05
[train]
checkpoint_steps = 3
batch_tokens = 256
threads = 1
[evaluate]
heldout_answers = 2
max_new_tokens = 4
resamples = 200
[worker]
backoff_seconds = 0.0
"""
PROGRAM = """
import signal, sys, threading
from pathlib import Path
from stoker.spec.reading import read_settings
from stoker.supervisor.supervisor import Supervisor
from stoker.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
Supervisor(workspace, read_settings(workspace.settings)).run(stop=stop)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "lab")
    made.create()
    made.settings.write_text(SETTINGS)
    return made


def write_file(path: Path, seed: int, num_rows: int = 100) -> Path:
    draw = random.Random(seed)
    lines = []
    for number in range(num_rows):
        words = [f"{draw.choice('bdfgk')}{draw.choice('aeiou')}{draw.randrange(900)}" for _ in range(5)]
        lines.append(orjson.dumps({"prompt": f"Turn {' '.join(words)} {number}", "answer": " ".join(words[::-1])}))
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def up(workspace: Workspace) -> subprocess.Popen[bytes]:
    with (workspace.root / "supervisor.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(workspace.root)], stdout=log, stderr=log)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.03)
    return found


def run(workspace: Workspace, run_id: str) -> dict[str, Any]:
    return Reader(workspace).run_detail(run_id)


def ask(workspace: Workspace, kind: str, **fields: Any) -> None:
    reply = await_reply(workspace.intents, post_intent(workspace.intents, kind, **fields), 30.0)
    assert reply is not None and reply["error"] is None, reply


def steps(workspace: Workspace, run_id: str) -> list[int]:
    return [step["step"] for step in Reader(workspace).metrics(run_id)]


def test_one_file_is_trained_in_the_foreground_once(workspace: Workspace, tmp_path: Path) -> None:
    path = write_file(tmp_path / "mine.jsonl", 1)
    heard: list[str] = []
    kinds: set[str] = set()
    outcome = train_file(
        workspace,
        path,
        lambda event: heard.append(event.code),
        on_message=lambda _, message: kinds.add(message["kind"]),
    )
    assert (outcome.state, outcome.run, outcome.version) == ("done", "r1", 1)
    assert outcome.verdict is not None and outcome.verdict["promote"]
    assert {"run.started", "version.published", "verdict", "version.promoted"} <= set(heard)
    assert {"plan", "step", "checkpoint", "result", "finished"} <= kinds
    assert path.exists() and not is_locked(workspace.lock)
    again = train_file(workspace, path)
    assert again == outcome and len(Reader(workspace).runs()) == 1


def test_a_run_goes_on_through_pause_kill_and_down(workspace: Workspace) -> None:
    write_file(workspace.inbox / "a.jsonl", 2, num_rows=500)
    supervisor = up(workspace)
    try:
        wait_for(lambda: Reader(workspace).runs() and len(steps(workspace, "r1")) >= 3, "the first steps")

        ask(workspace, "run.pause", run="r1")
        wait_for(lambda: run(workspace, "r1")["state"] == "paused", "the pause")
        paused_at = run(workspace, "r1")["step"]
        time.sleep(0.5)
        assert run(workspace, "r1")["step"] == paused_at
        ask(workspace, "run.resume", run="r1")
        wait_for(lambda: run(workspace, "r1")["step"] > paused_at, "going on after the pause")

        worker = Reader(workspace).status()["worker_pid"]
        starts = len(run(workspace, "r1")["starts"])
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        assert Reader(workspace).status()["worker_pid"] == worker
        supervisor = up(workspace)
        before = run(workspace, "r1")["step"]
        wait_for(lambda: run(workspace, "r1")["step"] > before, "the steps of the worker that lived on")
        assert Reader(workspace).status()["worker_pid"] == worker
        assert len(run(workspace, "r1")["starts"]) == starts

        supervisor.terminate()
        assert supervisor.wait(timeout=120) == 0
        assert Reader(workspace).status()["worker_pid"] is None
        assert (run(workspace, "r1")["state"], run(workspace, "r1")["code"]) == ("paused", "down")

        supervisor = up(workspace)
        wait_for(lambda: [row for row in Reader(workspace).versions() if row["champion"]], "the champion")
        detail = run(workspace, "r1")
        assert detail["state"] == "done" and steps(workspace, "r1") == list(range(1, detail["total_steps"] + 1))
        assert not [event for event in Reader(workspace).events(limit=500) if event["code"] == "run.crashed"]
    finally:
        supervisor.terminate()
        supervisor.wait(timeout=120)


def test_a_base_that_is_not_there_fails_the_run_and_keeps_the_file(workspace: Workspace) -> None:
    workspace.settings.write_text(SETTINGS + '[model]\nbase = "./gone"\n')
    write_file(workspace.inbox / "a.jsonl", 3)
    Supervisor(workspace, read_settings(workspace.settings)).run(until_idle=True)
    detail = run(workspace, "r1")
    assert (detail["state"], detail["code"]) == ("failed", "bad-config")
    assert "gone" in detail["reason"]
    assert [row["state"] for row in Reader(workspace).datasets()] == ["ready"]
    assert list(workspace.rejected.iterdir()) == []


def test_a_file_named_on_the_command_line_is_handed_to_the_supervisor_that_runs(
    workspace: Workspace, tmp_path: Path
) -> None:
    supervisor = up(workspace)
    try:
        wait_for(lambda: is_locked(workspace.lock) and workspace.supervisor.exists(), "the supervisor")
        stop = threading.Event()
        heard: list[str] = []

        def hear(event: Any) -> None:
            heard.append(event.code)
            if event.code == "run.started":
                stop.set()

        outcome = train_file(workspace, write_file(tmp_path / "mine.jsonl", 4), hear, stop=stop)
        assert outcome.state == "interrupted" and "stoker status" in str(outcome.reason)
        assert "dataset.ready" in heard
        ask(workspace, "run.stop", run="r1")
        wait_for(lambda: run(workspace, "r1")["state"] == "stopped", "the stop")
    finally:
        supervisor.terminate()
        supervisor.wait(timeout=120)
