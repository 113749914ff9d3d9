"""Runs make room before memory or disk runs out, and go on by themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError
from sqlalchemy import insert, select

from stoker.durable import free_bytes, publish_folder
from stoker.errors import WorkerExit
from stoker.launchers import local
from stoker.registry.lines import line_for
from stoker.spec.guarding import GuardSpec
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import disk_watch, queue, recover
from stoker.supervisor.guard import Guard
from stoker.supervisor.lane import Lane
from stoker.supervisor.memory import Memory, host_memory, num_memory_kills
from stoker.supervisor.memory_watch import MOST_PAUSES, MemoryWatch, risk_of
from stoker.supervisor.workers import Workers, assign

GIGABYTE = 10**9


@pytest.fixture
def lane(lab: Any) -> Lane:
    """A lane whose worker (this process) trains r1."""
    workers = Workers(lab.context)
    lab.dataset()
    with lab.store.transaction() as tx:
        line_for(tx, lab.workspace, lab.context.spec.model)
        set_fields(tx, t.runs, "r1", state="running", fence=1, model="main", version=1, step=5)
        tx.execute(insert(t.workers).values(id="w1", number=1, state="alive", created=0.0))
        lab.workspace.run("r1").mkdir(parents=True)
        assign(tx, "w1", "train", "r1", lab.workspace.run("r1"), 1)
    workers._adopt("w1", local.Process(os.getpid(), psutil.Process().create_time()))
    made = Lane(lab.context, workers)
    made.refresh()
    return made


def look(lab: Any, lane: Lane, times: int = 1) -> None:
    guard = Guard(lab.context, lane, lane._workers)
    for _ in range(times):
        lab.context.awake.seconds += 1.0
        guard.tick()


def end_as_asked(lab: Any) -> None:
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, "r1", {"exit": int(WorkerExit.PAUSED), "reason": "pause"})


def wake(lab: Any) -> None:
    with lab.store.transaction() as tx:
        recover.wake_waiting(lab.context, tx)


def test_a_run_makes_room_when_memory_is_short_and_goes_on_when_there_is_some(lab: Any, lane: Lane) -> None:
    look(lab, lane)
    assert lab.run("r1", "wanted") is None
    lab.spec(guard={"memory_share": 0.0001, "memory_resume_share": 0.0001})
    look(lab, lane)
    assert lab.run("r1", "wanted") == "memory" and lab.run("r1", "needed_bytes") > 1_000_000
    end_as_asked(lab)
    assert (lab.run("r1"), lab.run("r1", "code")) == ("paused", "memory")
    wake(lab)
    assert lab.run("r1") == "paused"
    assert not lane.is_idle()
    lab.spec(guard={"memory_share": 1.0, "memory_resume_share": 0.0001})
    wake(lab)
    assert lab.run("r1") == "paused", "the lower mark counts"
    lab.spec(guard={"memory_share": 0.999, "memory_resume_share": 0.999})
    wake(lab)
    assert (lab.run("r1"), lab.run("r1", "code")) == ("running", None)
    assert lab.codes[-3:] == ["memory-trend", "recovery.paused", "recovery.resumed"]


def test_a_memory_trend_that_is_ignored_pauses_the_run_and_only_the_pause_is_told(lab: Any, lane: Lane) -> None:
    lab.spec(guard={"memory_share": 0.0001, "memory_resume_share": 0.0001}, watch={"ignore": ["memory-trend"]})
    look(lab, lane)
    assert lab.run("r1", "wanted") == "memory" and "memory-trend" not in lab.codes
    end_as_asked(lab)
    assert lab.run("r1") == "paused" and lab.codes[-1] == "recovery.paused"


def test_memory_share_of_one_never_pauses() -> None:
    spec = GuardSpec(memory_share=1.0)
    assert risk_of(Memory("m", 100, 100), [], spec) is None


def test_memory_that_grows_towards_its_end_is_met_before_it() -> None:
    readings = [(float(second), 0.5e9 * second) for second in range(60)]
    now = Memory("m", int(readings[-1][1]), 32 * GIGABYTE)
    assert now.share > 0.9
    found = risk_of(now, readings, GuardSpec())
    assert found is not None and found.kind == "memory-trend" and found.numbers["seconds_left"] < 10
    assert risk_of(now, readings, GuardSpec(memory_seconds=0)) is None
    assert risk_of(now, readings, GuardSpec(memory_seconds=2)) is None
    assert risk_of(now, [(at, 29.5e9) for at, _ in readings], GuardSpec()) is None, "full but steady"
    low = Memory("m", 10 * GIGABYTE, 32 * GIGABYTE)
    assert risk_of(low, readings, GuardSpec()) is None, "a model that is loaded rises as fast"
    assert risk_of(low, readings, GuardSpec(memory_share=0.3, memory_resume_share=0.3)) is not None


def test_a_run_is_not_paused_for_ever(lab: Any, lane: Lane) -> None:
    lab.spec(guard={"memory_share": 0.0001, "memory_resume_share": 0.0001})
    watch = MemoryWatch(lab.context)
    process = local.Process(os.getpid(), psutil.Process().create_time())
    for number in range(MOST_PAUSES + 3):
        with lab.store.transaction() as tx:
            set_fields(tx, t.runs, "r1", wanted=None)
        with lab.store.transaction() as tx:
            watch.look(tx, queue.get_run(tx, "r1"), process, float(number))
    assert lab.run("r1", "wanted") is None
    assert lab.codes.count("memory-trend") == MOST_PAUSES and lab.codes.count("recovery.gave-up") == 1


def test_a_card_that_others_fill_is_seen_and_one_that_the_worker_fills_itself_is_not(lab: Any) -> None:
    watch = MemoryWatch(lab.context)
    card = 80 * GIGABYTE
    assert watch._crowded(Memory("GPU 0", 30 * GIGABYTE, card, 28 * GIGABYTE)) is None
    assert watch._crowded(Memory("GPU 0", 79 * GIGABYTE, card, 77 * GIGABYTE)) is None
    assert watch._crowded(Memory("GPU 0", 79 * GIGABYTE, card, None)) is None
    found = watch._crowded(Memory("GPU 0", 79 * GIGABYTE, card, 40 * GIGABYTE))
    assert found is not None and "37.0 GB" in found.text


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_the_control_group_counts(tmp_path: Path, version: int) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    line, folder = ("0::/lab/unit", tmp_path / "cg/lab/unit") if version == 2 else (
        "4:cpu,memory:/lab/unit", tmp_path / "cg/memory/lab/unit"
    )  # fmt: skip
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    folder.mkdir(parents=True)
    (folder / names[0]).write_text("1000000\n")
    (folder / names[1]).write_text("990000\n")
    (folder / "memory.stat").write_text("anon 600000\ninactive_file 300000\nactive_file 50000\n")
    found = host_memory(tmp_path / "cg", tmp_path / "proc")
    assert (found.used, found.limit) == (640_000, 1_000_000)
    (folder / ("memory.events" if version == 2 else "memory.oom_control")).write_text("oom_kill 2\n")
    (tmp_path / "proc" / "vmstat").write_text("nr_free 7\noom_kill 3\n")
    assert num_memory_kills(tmp_path / "cg", tmp_path / "proc") == 5


def test_a_machine_without_control_groups_has_its_memory(tmp_path: Path) -> None:
    found = host_memory(tmp_path, tmp_path)
    assert found.limit == psutil.virtual_memory().total and 0 < found.share < 1
    assert num_memory_kills(tmp_path, tmp_path) == 0


def test_a_run_pauses_while_a_checkpoint_still_fits(lab: Any, lane: Lane) -> None:
    free = free_bytes(lab.workspace.state)
    checkpoint = lab.workspace.run("r1") / "checkpoints" / "step-00000005"
    with publish_folder(checkpoint, {}) as staging:
        (staging / "weights").write_bytes(b"x" * 5_000_000)
    lab.spec(guard={"disk_reserve_megabytes": 1})
    needed = disk_watch.needed_bytes(lab.context, lab.workspace.run("r1"))
    assert (1 << 20) + 2.2 * 5_000_000 <= needed <= (1 << 20) + 2.2 * 5_100_000
    look(lab, lane)
    assert lab.run("r1", "wanted") is None
    lab.spec(guard={"disk_reserve_megabytes": (free >> 20) + 1000})
    look(lab, lane)
    assert lab.run("r1", "wanted") == "disk-full" and lab.run("r1", "needed_bytes") > free
    end_as_asked(lab)
    assert (lab.run("r1"), lab.run("r1", "code")) == ("paused", "disk-full")
    wake(lab)
    assert lab.run("r1") == "paused"
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", needed_bytes=free // 2)
    wake(lab)
    assert lab.run("r1") == "running"
    assert lab.codes[-3:] == ["disk-low", "recovery.paused", "disk.free"]


def test_room_is_made_before_a_run_is_paused(lab: Any, lane: Lane) -> None:
    lab.dataset(2)
    old = lab.workspace.run("r2") / "checkpoints" / "step-00000001"
    old.mkdir(parents=True)
    (old / "weights").write_bytes(b"x" * 100_000)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r2", state="done")
    lab.spec(guard={"disk_reserve_megabytes": (free_bytes(lab.workspace.state) >> 20) + 1000})
    look(lab, lane)
    assert not old.exists() and lab.codes[-2:] == ["checkpoints.removed", "disk-low"]


def test_a_run_grown_slow_is_told_once_and_left_alone(lab: Any, lane: Lane) -> None:
    voice = lab.outbox("r1", 1)
    for step in range(1, 65):
        voice.send("step", step=step, loss=1.0, seconds=1.0 if step < 40 else 4.0, tokens=1000, rows=1)
    lane.listen()
    lab.spec(guard={"throughput_share": 0})
    look(lab, lane)
    assert "throughput-drop" not in lab.codes
    lab.spec(guard={"throughput_share": 0.1})
    look(lab, lane)
    assert "throughput-drop" not in lab.codes
    lab.spec(watch={"ignore": ["throughput-drop"]})
    look(lab, lane)
    assert "throughput-drop" not in lab.codes
    lab.spec()
    look(lab, lane, times=5)
    assert lab.codes.count("throughput-drop") == 1 and lab.run("r1", "wanted") is None
    with lab.store.transaction() as tx:
        data = tx.scalar(select(t.events.c.data).where(t.events.c.code == "throughput-drop"))
    assert (data["now"], data["before"]) == (250.0, 1000.0)


def test_a_run_that_was_made_slower_is_not_told_to_be_slow(lab: Any, lane: Lane) -> None:
    voice = lab.outbox("r1", 1)
    for step in range(1, 65):
        if step == 40:
            voice.event("warn", "memory.tight", "activations are computed again", step=step)
        voice.send("step", step=step, loss=1.0, seconds=1.0 if step < 40 else 4.0, tokens=1000, rows=1)
    lane.listen()
    look(lab, lane, times=5)
    assert "memory.tight" in lab.codes and "throughput-drop" not in lab.codes


def test_marks_that_would_swing_are_refused() -> None:
    with pytest.raises(ValidationError, match="paused again at once"):
        GuardSpec(memory_share=0.8, memory_resume_share=0.9)


def test_a_mark_that_a_person_changes_counts_while_a_run_waits(lab: Any, lane: Lane) -> None:
    lab.spec(guard={"memory_share": 0.0001, "memory_resume_share": 0.0001})
    look(lab, lane)
    end_as_asked(lab)
    lane._open.clear()
    lab.workspace.settings.write_text("[guard]\nmemory_share = 0.999\nmemory_resume_share = 0.999\n")
    look(lab, lane)
    wake(lab)
    assert lab.run("r1") == "running"
