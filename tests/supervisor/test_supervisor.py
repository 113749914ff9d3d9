"""The whole supervisor: light, alone in its lab, ending when it should."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from stoker.errors import Busy
from stoker.locks import is_locked
from stoker.mailbox.intents import await_reply, post_intent
from stoker.spec.lab import LabSpec
from stoker.store.reader import Reader
from stoker.supervisor.holding import hold
from stoker.supervisor.supervisor import Supervisor
from stoker.workspace import Workspace

QUICK = LabSpec.model_validate({"intake": {"settle_seconds": 0.05}})
IDLE_PROGRAM = """
import sys, threading
from pathlib import Path
from stoker.spec.lab import LabSpec
from stoker.supervisor.supervisor import Supervisor
from stoker.workspace import Workspace
heavy = {"torch", "transformers", "numpy", "scipy", "pandas", "pyarrow", "rensa", "tokenizers", "alembic"}
print(",".join(sorted(heavy & set(sys.modules))), flush=True)
Supervisor(Workspace(Path(sys.argv[1])), LabSpec()).run()
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.create()
    return made


@pytest.fixture
def running(workspace: Workspace) -> Any:
    """A supervisor in a thread, ended with the test."""
    stop = threading.Event()
    thread = threading.Thread(target=Supervisor(workspace, QUICK).run, kwargs={"stop": stop})
    thread.start()
    while not workspace.supervisor.exists():
        time.sleep(0.01)
    yield thread
    stop.set()
    thread.join(timeout=30)
    assert not thread.is_alive()


def test_a_lab_with_nothing_to_do_is_idle(workspace: Workspace) -> None:
    Supervisor(workspace, QUICK).run(until_idle=True)
    assert not workspace.supervisor.exists()
    assert Reader(workspace).status()["state"] == "off"


def test_until_idle_waits_for_files_that_settle_and_reports_the_bad_ones(workspace: Workspace) -> None:
    (workspace.inbox / "bad.jsonl").write_text("not json")
    heard: list[str] = []
    spec = LabSpec.model_validate({"intake": {"settle_seconds": 0.05}, "worker": {"idle_seconds": 1}})
    Supervisor(workspace, spec, on_event=lambda event: heard.append(event.code)).run(until_idle=True)
    assert heard == ["file.accepted", "file.rejected"]
    assert (workspace.rejected / "bad.jsonl.report.txt").is_file()


def test_a_second_supervisor_is_refused_naming_the_first(workspace: Workspace) -> None:
    program = "import sys\nfrom pathlib import Path\nfrom stoker.workspace import Workspace\n"
    program += (
        "from stoker.supervisor.holding import hold\nwith hold(Workspace(Path(sys.argv[1]))): print('no', flush=True)\n"
    )
    with hold(workspace):
        found = subprocess.run([sys.executable, "-c", program, str(workspace.root)], capture_output=True, text=True)
    assert found.returncode != 0 and "already has a supervisor" in found.stderr and "stoker down" in found.stderr


def test_the_lab_is_free_again_when_its_holder_is_killed(workspace: Workspace) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IDLE_PROGRAM, str(workspace.root)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    while not is_locked(workspace.lock):
        time.sleep(0.02)
    with pytest.raises(Busy), hold(workspace):
        pass
    process.kill()
    process.communicate()
    with hold(workspace) as store:
        assert store.fence >= 1


def test_a_down_intent_is_answered_and_ends_it(workspace: Workspace, running: threading.Thread) -> None:
    reply = await_reply(workspace.intents, post_intent(workspace.intents, "down"), 10.0)
    assert reply == {"error": None, "result": {}}
    running.join(timeout=10)
    assert not running.is_alive() and not workspace.supervisor.exists()


def test_intents_are_answered(workspace: Workspace, running: threading.Thread) -> None:
    reply = await_reply(workspace.intents, post_intent(workspace.intents, "queue.pause", job=None), 10.0)
    assert reply is not None and reply["error"] is None
    assert Reader(workspace).events()[-1]["code"] == "queue.paused"


def test_changed_settings_are_taken_and_a_mistake_in_them_is_told(lab: Any) -> None:
    settings: Path = lab.workspace.settings
    settings.write_text("[train]\nepochs = 3\n")
    lab.context.refresh_settings()
    assert lab.context.spec.train.epochs == 3
    settings.write_text("[train]\nepoch = 4\n")
    lab.context.refresh_settings()
    lab.context.refresh_settings()
    assert lab.context.spec.train.epochs == 3
    assert lab.codes == ["settings.refused"]


def test_an_idle_supervisor_is_light(workspace: Workspace) -> None:
    """Under 150 MB and 1 % of a core, and nothing heavy imported."""
    Supervisor(workspace, QUICK).run(until_idle=True)  # makes the store, so that no migration is measured
    process = subprocess.Popen([sys.executable, "-c", IDLE_PROGRAM, str(workspace.root)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().decode().strip() == ""
        while not is_locked(workspace.lock):
            time.sleep(0.02)
        time.sleep(1.0)
        measured = psutil.Process(process.pid)
        before, began = sum(measured.cpu_times()[:2]), time.monotonic()
        time.sleep(4.0)
        share = (sum(measured.cpu_times()[:2]) - before) / (time.monotonic() - began)
        assert measured.memory_info().rss < 150 << 20
        assert share < 0.01, f"{share:.2%} of a core"
    finally:
        process.terminate()
        process.communicate()
