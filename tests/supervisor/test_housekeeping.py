"""What is tidied up, and what never is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from stoker.durable import disk_use
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import housekeeping
from stoker.supervisor.housekeeping import Housekeeping, keep_disk_share, make_room, remove_old_replies


def run_with_checkpoint(lab: Any, number: int, state: str) -> Path:
    lab.dataset(number)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, f"r{number}", state=state)
    folder: Path = lab.workspace.run(f"r{number}") / "checkpoints" / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"x" * 200_000)
    return folder


def test_checkpoints_of_ended_runs_go_when_the_lab_uses_more_than_its_share(lab: Any, monkeypatch: Any) -> None:
    states = ("stopped", "done", "paused", "running", "parked")
    folders = {state: run_with_checkpoint(lab, number, state) for number, state in enumerate(states, start=1)}
    assert keep_disk_share(lab.context) == []
    lab.spec(retention={"disk_share": 1e-12})
    assert keep_disk_share(lab.context) == ["r2", "r1"]
    assert {state for state, folder in folders.items() if folder.exists()} == {"paused", "running", "parked"}
    assert "checkpoints.removed" in lab.codes


def test_no_more_goes_than_must(lab: Any, monkeypatch: Any) -> None:
    for number in (1, 2):
        run_with_checkpoint(lab, number, "done")
    used = disk_use(lab.workspace.root)
    total = housekeeping.shutil.disk_usage(lab.workspace.state).total
    lab.spec(retention={"disk_share": (used - 100_000) / total})
    assert keep_disk_share(lab.context) == ["r1"]


def test_a_full_disk_takes_the_checkpoints_of_done_and_failed_runs_at_once(lab: Any) -> None:
    states = ("done", "failed", "stopped", "paused")
    folders = {state: run_with_checkpoint(lab, number, state) for number, state in enumerate(states, start=1)}
    make_room(lab.context)
    make_room(lab.context)
    assert {state for state, folder in folders.items() if folder.exists()} == {"stopped", "paused"}
    assert lab.codes.count("checkpoints.removed") == 1


def test_old_replies_go_and_young_ones_stay(lab: Any) -> None:
    old, young = (lab.workspace.intents / f"{name}.reply.json" for name in ("old", "young"))
    for path in (old, young):
        path.write_text("{}")
    now = young.stat().st_mtime
    os.utime(old, (now - 90_000, now - 90_000))
    remove_old_replies(lab.workspace.intents, now)
    assert not old.exists() and young.exists()


def test_what_a_crash_left_between_store_and_disk_is_finished(lab: Any) -> None:
    dataset = lab.dataset()
    copy = lab.workspace.file(f"{1:064x}")
    with lab.store.transaction() as tx:
        set_fields(tx, t.datasets, dataset, state="rejected")
    Housekeeping(lab.context).at_start()
    assert not copy.exists()


def test_folders_of_workers_long_gone_and_of_preparations_past_are_removed(lab: Any) -> None:
    lab.dataset()
    with lab.store.transaction() as tx:
        for number in range(1, 9):
            tx.execute(insert(t.workers).values(id=f"w{number}", number=number, state="ended", created=0.0))
            lab.workspace.worker(f"w{number}").mkdir()
    for name in ("prepare-r1", "prepare-r0"):
        (lab.workspace.tasks / name).mkdir()
    Housekeeping(lab.context).tick()
    assert sorted(path.name for path in lab.workspace.workers.iterdir()) == ["w4", "w5", "w6", "w7", "w8"]
    assert [path.name for path in lab.workspace.tasks.iterdir()] == ["prepare-r1"]
