"""The store locked, full, deleted, replaced or damaged while the lab runs: told once, and nothing is lost or overwritten."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from stoker.errors import DiskFull, StoreLost
from stoker.spec.lab import LabSpec
from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.store.store import Store
from stoker.supervisor.holding import hold
from stoker.supervisor.housekeeping import copy_store
from stoker.supervisor.supervisor import Supervisor
from stoker.supervisor.trouble import Trouble
from stoker.workspace import Workspace

LOCKED = OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked"))


class Running:
    """A supervisor in a thread; what it raised is in `error`."""

    def __init__(self, workspace: Workspace) -> None:
        self.heard: list[str] = []
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._supervisor = Supervisor(workspace, LabSpec(), on_event=lambda event: self.heard.append(event.code))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        wait_until(workspace.store_copy.exists)  # the first turn is done

    def _run(self) -> None:
        try:
            self._supervisor.run(stop=self.stop)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the test looks at it
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.create()
    return made


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_passes_by_itself_is_told_once_and_recorded_when_it_is_over(lab: Any) -> None:
    trouble = Trouble(lab.context)
    for _ in range(5):
        trouble.met(LOCKED)
    assert lab.codes == ["store.unreachable"] and "database is locked" in lab.texts[0]
    lab.clock.now += 42
    trouble.over()
    trouble.over()
    assert lab.codes == ["store.unreachable", "store.back"] and "for 42 s" in lab.texts[1]
    trouble.met(DiskFull(lab.workspace.store, 10, 0))
    trouble.over()
    assert lab.codes[2:] == ["store.unreachable", "store.back"]
    with lab.store.transaction() as tx:
        assert [row.code for row in tx.rows(select(t.events.c.code))] == ["store.back", "store.back"]


def test_an_error_of_our_own_is_not_taken_for_trouble(lab: Any) -> None:
    with pytest.raises(RuntimeError, match="a defect"):
        Trouble(lab.context).met(RuntimeError("a defect"))


def test_a_store_that_is_deleted_while_the_lab_runs_is_written_back(workspace: Workspace) -> None:
    running = Running(workspace)
    before = Reader(workspace).events()
    workspace.store.unlink()
    wait_until(lambda: "store.put-back" in running.heard)
    running.end()
    assert running.error is None
    after = Reader(workspace).events()
    assert after[: len(before)] == before and after[-1]["code"] == "store.put-back"
    with hold(workspace) as store, store.transaction() as tx:
        assert tx.connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert store.fence == 2


def test_a_store_that_is_replaced_is_not_written_to(workspace: Workspace) -> None:
    running = Running(workspace)
    other = workspace.state / "other.db"
    Store(other).close()
    content = other.read_bytes()
    other.replace(workspace.store)
    running.thread.join(timeout=60)
    assert isinstance(running.error, StoreLost) and "replaced while the lab ran" in str(running.error)
    assert workspace.store.read_bytes() == content


def test_a_state_folder_that_is_gone_ends_the_supervisor(workspace: Workspace) -> None:
    running = Running(workspace)
    shutil.move(workspace.state, workspace.root / "elsewhere")
    running.thread.join(timeout=60)
    assert isinstance(running.error, StoreLost) and running.error.exit_code == 4


def test_a_damaged_store_is_refused_with_the_way_back(workspace: Workspace) -> None:
    with hold(workspace) as store:
        store.copy_to(workspace.store_copy)
    workspace.store.write_bytes(b"no database at all, " * 500)
    with pytest.raises(StoreLost) as caught:
        hold(workspace).__enter__()
    assert "damaged" in caught.value.what and f"cp {workspace.store_copy} {workspace.store}" in caught.value.remedy
    shutil.copy(workspace.store_copy, workspace.store)
    with hold(workspace) as store:
        assert store.fence == 2


def test_a_lab_with_runs_and_no_store_is_refused(workspace: Workspace) -> None:
    workspace.run("r1").mkdir()
    with pytest.raises(StoreLost, match="is gone, but the lab has runs") as caught:
        hold(workspace).__enter__()
    assert "move" in caught.value.remedy
    assert not workspace.store.exists()


def test_the_store_is_copied_as_often_as_the_setting_says(lab: Any) -> None:
    lab.clock.now = time.time()
    lab.spec(guard={"copy_hours": 0})
    assert not copy_store(lab.context)
    lab.spec(guard={"copy_hours": 2})
    assert copy_store(lab.context) and not copy_store(lab.context)
    lab.clock.now += 2 * 3600 + 60
    assert copy_store(lab.context)
    connection = sqlite3.connect(lab.workspace.store_copy)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_clock_that_is_set_back_holds_nothing_up(lab: Any) -> None:
    before = lab.context.now()
    lab.clock.now -= 3600
    assert lab.context.now() == before
    lab.clock.now += 5
    assert lab.context.now() == before + 5
