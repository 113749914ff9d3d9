"""What hangs and what only takes long, judged on real processes and on the time that the supervisor was awake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from sqlalchemy import insert, select

from stoker.launchers import local
from stoker.locks import process_started_at
from stoker.registry.lines import line_for
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import hangs
from stoker.supervisor.awake import LONGEST_TURN_SECONDS, Awake
from stoker.supervisor.guard import Guard
from stoker.supervisor.lane import Lane
from stoker.supervisor.pulse import Pulse, Reading, read_process
from stoker.supervisor.workers import Workers, assign

Start = Callable[[str], local.Process]
SLEEPS = "import time; time.sleep(600)"
COMPUTES = "while True: pass"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python programs that are ended with the test."""
    children: list[subprocess.Popen[bytes]] = []

    def start(program: str) -> local.Process:
        child = subprocess.Popen([sys.executable, "-c", program])
        children.append(child)
        return local.Process(child.pid, process_started_at(child.pid) or 0.0, child)

    yield start
    for child in children:
        child.kill()
        child.wait()


@pytest.fixture
def guarded(lab: Any, start: Start) -> Callable[..., tuple[Guard, Lane, local.Process]]:
    """Make a lane with an open task of this kind whose worker is a process that runs this program."""

    def make(program: str, kind: str = "train") -> tuple[Guard, Lane, local.Process]:
        workers = Workers(lab.context)
        lab.dataset()
        process = start(program)
        with lab.store.transaction() as tx:
            line_for(tx, lab.workspace, lab.context.spec.model)
            set_fields(tx, t.runs, "r1", state="running", fence=1, model="main", version=1)
            tx.execute(insert(t.workers).values(id="w1", number=1, state="alive", created=0.0))
            if kind == "evaluate":
                tx.execute(
                    insert(t.evaluations).values(
                        id="e1", number=1, model="main", version=1, state="running", created=0.0
                    )
                )
            folder = lab.workspace.run("r1") if kind != "evaluate" else lab.workspace.evaluation("e1")
            folder.mkdir(parents=True)
            assign(tx, "w1", kind, "e1" if kind == "evaluate" else "r1", folder, 1)
        workers._adopt("w1", process)
        lane = Lane(lab.context, workers)
        lane.refresh()
        return Guard(lab.context, lane, workers), lane, process

    return make


def pass_time(lab: Any, guard: Guard, seconds: float, every: float = 1.0) -> None:
    for _ in range(int(seconds / every)):
        lab.context.awake.seconds += every
        guard.tick()


def step(number: int, seconds: float = 0.1) -> dict[str, Any]:
    return {"kind": "step", "step": number, "seconds": seconds, "tokens": 100}


def stop(pid: int) -> None:
    """Stop a process and wait until each of its threads stands."""
    os.kill(pid, signal.SIGSTOP)
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)


def settle(process: local.Process) -> None:
    """Wait until a program that will sleep has come to its sleep."""
    before, since = -1.0, time.monotonic()
    while time.monotonic() - since < 0.3:
        now = sum(psutil.Process(process.pid).cpu_times()[:2])
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.02)


def test_a_worker_that_stands_still_is_ended_and_its_run_goes_on(lab: Any, guarded: Any) -> None:
    guard, lane, process = guarded(SLEEPS)
    settle(process)
    lab.outbox("r1", 1).phase("train")
    lane.listen()
    pass_time(lab, guard, 50)
    assert process.is_alive() and "hang" not in lab.codes
    pass_time(lab, guard, 10)
    assert not process.is_alive()
    assert lane.tick()
    assert lab.codes[-3:] == ["hang", "recovery.worker-ended", "run.crashed"]
    assert (lab.run("r1"), lab.run("r1", "attempts")) == ("running", 1)
    with lab.store.transaction() as tx:
        event = tx.first(select(t.events).where(t.events.c.code == "hang"))
        assert event is not None and event.run == "r1"
        assert 55 <= event.data["silence_seconds"] <= 57 and event.data["phase"] == "train"


def test_the_limit_is_a_setting_that_is_taken_at_once(lab: Any, guarded: Any) -> None:
    guard, _, process = guarded(SLEEPS)
    settle(process)
    lab.spec(guard={"hang_seconds": 3, "check_seconds": 0.5})
    pass_time(lab, guard, 4, every=0.5)
    assert not process.is_alive()


def test_it_looks_as_often_as_the_setting_says(lab: Any, guarded: Any) -> None:
    guard, _, process = guarded(SLEEPS)
    settle(process)
    lab.spec(guard={"hang_seconds": 3, "check_seconds": 30})
    pass_time(lab, guard, 29)
    assert process.is_alive()
    pass_time(lab, guard, 3)
    assert not process.is_alive()


def test_a_stopped_worker_is_ended_in_any_phase(lab: Any, guarded: Any) -> None:
    guard, lane, process = guarded(COMPUTES, "evaluate")
    lab.judge("e1").phase("answer")
    stop(process.pid)
    lane.listen()
    pass_time(lab, guard, 60)
    assert not process.is_alive()
    lane.tick()
    assert lab.codes[-3:] == ["hang", "recovery.worker-ended", "evaluation.crashed"]


def test_a_long_evaluation_that_computes_is_no_hang() -> None:
    pulse = Pulse(0.0, "answer")
    for now in range(0, 3600, 30):
        pulse.look(Reading(cpu_seconds=now * 0.9, num_bytes=0), float(now))
        assert not hangs.is_hung(pulse, float(now), 55.0)


def test_neither_is_one_that_reads_or_is_held_up_but_one_that_only_idles_is() -> None:
    reads, waits, idles = Pulse(0.0, "load"), Pulse(0.0, "save"), Pulse(0.0, "load")
    for now in range(0, 300, 5):
        reads.look(Reading(1.0, num_bytes=now), float(now))
        waits.look(Reading(1.0, 0, is_held_up=True), float(now))
        idles.look(Reading(1.0 + now * 0.001, 0), float(now))
    assert not hangs.is_hung(reads, 300.0, 55.0) and not hangs.is_hung(waits, 300.0, 55.0)
    assert hangs.is_hung(idles, 300.0, 55.0)


def test_a_process_that_wants_a_processor_is_held_up_and_a_stopped_one_is_not(start: Start) -> None:
    computes, sleeps = start(COMPUTES), start(SLEEPS)
    settle(sleeps)
    for process, is_held_up in ((computes, True), (sleeps, False)):
        reading = read_process(process.pid)
        assert reading is not None and reading.is_held_up is is_held_up
    stop(computes.pid)
    reading = read_process(computes.pid)
    assert reading is not None and not reading.is_held_up
    assert read_process(2**22 + 1) is None


def test_training_that_computes_without_a_step_is_ended_later() -> None:
    pulse = Pulse(0.0)
    pulse.hear([{"kind": "phase", "name": "train"}, step(1)], 0.0)
    found = []
    for now in range(0, 301, 5):
        pulse.look(Reading(float(now), 0), float(now))
        found.append(hangs.is_hung(pulse, float(now), 55.0))
    assert found.index(True) * 5 == 275


def test_slow_steps_have_a_longer_limit() -> None:
    pulse = Pulse(0.0)
    pulse.hear([step(1, 10.0), step(2, 30.0), step(3, 31.0)], 0.0)
    assert hangs.limit_seconds(pulse, 55.0) == 150.0
    assert not hangs.is_hung(pulse, 149.0, 55.0) and hangs.is_hung(pulse, 150.0, 55.0)


def test_a_task_that_waits_behind_another_is_not_silent(lab: Any, guarded: Any) -> None:
    guard, lane, process = guarded(SLEEPS)
    with lab.store.transaction() as tx:
        assign(tx, "w1", "prepare", "r1", lab.workspace.tasks / "prepare-r1", 0)
    lane.refresh()
    pass_time(lab, guard, 40)
    _, pulse = lane.tasks()[1]
    assert pulse.stillness_seconds(lab.context.awake.seconds) <= 1.0 and process.is_alive()


def test_a_machine_that_slept_kills_nobody() -> None:
    now = 0.0
    awake = Awake(lambda: now)
    for pause in (1.0, 1.0, 28_800.0, 1.0, -50.0):
        now += pause
        awake.turn()
    assert awake.seconds == 3.0 + LONGEST_TURN_SECONDS


def test_a_reading_process_that_stands_still_is_ended_and_the_file_read_again(lab: Any) -> None:
    from stoker.supervisor.inbox import Inbox
    from stoker.supervisor.intake import Intake

    path = lab.workspace.inbox / "good.jsonl"
    path.write_text('{"prompt": "What is two and two?", "answer": "It is four."}\n')
    Inbox(lab.context).take(path)
    intake = Intake(lab.context)
    assert intake.tick() and intake.process is not None
    stop(intake.process.pid)
    for _ in range(60):
        lab.context.awake.seconds += 1.0
        if intake.tick():
            break
    assert lab.codes[-2:] == ["hang", "intake.crashed"] and not intake.is_reading
