"""The lane's decisions and what survives a crash between any two of its effects, without a worker that trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert, select

from stoker.errors import WorkerExit
from stoker.locks import process_started_at
from stoker.mailbox import worker_box
from stoker.registry import versions
from stoker.registry.lines import line_for
from stoker.spec.jobs import PrepareJob, TrainJob, read_job
from stoker.store import tables as t
from stoker.store.records import AssignmentRecord
from stoker.store.store import set_fields
from stoker.supervisor import queue, recover, schedule
from stoker.supervisor.lane import Lane
from stoker.supervisor.workers import Workers, assign, num_given, open_assignments


@pytest.fixture
def workers(lab: Any) -> Workers:
    """A worker's row and folder, with no process behind it."""
    made = Workers(lab.context)
    with lab.store.transaction() as tx:
        tx.execute(insert(t.workers).values(id="w1", number=1, state="alive", created=0.0))
    lab.workspace.worker("w1").mkdir()
    made.id = "w1"
    made.start = lambda: "w1"  # type: ignore[method-assign]
    return made


def tasks(lab: Any) -> list[str]:
    return [Path(record["folder"]).name for record in worker_box.task_reader(lab.workspace.worker("w1")).read()]


def job(lab: Any, run_id: str = "r1") -> TrainJob:
    found = read_job(lab.workspace.run(run_id))
    assert isinstance(found, TrainJob)
    return found


def open_tasks(lab: Any) -> list[AssignmentRecord]:
    with lab.store.transaction() as tx:
        return open_assignments(tx)


def finish(lab: Any, number: int, *, is_promoted: bool = True) -> None:
    """Let run `number` be done and its version the champion."""
    with lab.store.transaction() as tx:
        run = queue.get_run(tx, f"r{number}")
    lab.publish("main", run.version, [run.dataset])
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, run.id, {"exit": int(WorkerExit.DONE)})
        tx.execute(t.assignments.update().values(state="finished"))
        tx.execute(t.evaluations.update().values(state="done"))
        if is_promoted:
            versions.promote(tx, "main", run.version, "better")


def test_the_first_run_starts_from_the_base_the_next_from_the_champion(lab: Any, workers: Workers) -> None:
    first, second = lab.dataset(1), lab.dataset(2)
    assert schedule.begin_next(lab.context, workers)
    made = job(lab)
    assert (made.parent, made.version, made.fence, made.replay) == (None, 1, 1, ())
    assert [ref.id for ref in made.new] == [first] and made.output == lab.workspace.version("main", 1)
    finish(lab, 1)
    assert schedule.begin_next(lab.context, workers)
    made = job(lab, "r2")
    assert made.parent is not None and made.parent.label == "main/v1" and made.parent.weights_sha256 == "1" * 64
    assert ([ref.id for ref in made.new], [ref.id for ref in made.replay]) == ([second], [first])
    assert tasks(lab) == ["r1", "r2"]


def test_a_version_that_was_kept_back_is_not_continued_nor_its_number_used_again(lab: Any, workers: Workers) -> None:
    for number in (1, 2):
        lab.dataset(number)
    schedule.begin_next(lab.context, workers)
    finish(lab, 1, is_promoted=False)
    schedule.begin_next(lab.context, workers)
    made = job(lab, "r2")
    assert (made.parent, made.version, made.replay) == (None, 2, ())


def test_a_resumed_run_keeps_the_job_it_began_with_under_the_next_fence(lab: Any, workers: Workers) -> None:
    lab.dataset()
    schedule.begin_next(lab.context, workers)
    before = job(lab)
    lab.spec(train={"epochs": 9})
    schedule.start_run(lab.context, workers, "r1")
    assert job(lab) == before.model_copy(update={"fence": 2})
    assert lab.run("r1", "fence") == 2


def test_a_hand_over_cut_short_is_repeated_and_a_whole_one_is_not(lab: Any, workers: Workers) -> None:
    lab.dataset()
    workers.give = lambda assignment: None  # type: ignore[method-assign]
    schedule.begin_next(lab.context, workers)
    (lab.workspace.run("r1") / "job.json").unlink()
    assert tasks(lab) == []
    del workers.give  # the crash came here
    for _ in range(2):
        for found in open_tasks(lab):
            schedule.give_again(lab.context, workers, found)
    assert tasks(lab) == ["r1"] and job(lab).fence == 1


def test_a_task_has_one_place_in_the_list_for_ever(lab: Any, workers: Workers) -> None:
    folder = lab.workspace.worker("w1")
    with lab.store.transaction() as tx:
        first = assign(tx, "w1", "prepare", "r1", Path("/a"), 0)
        second = assign(tx, "w1", "evaluate", "e1", Path("/b"), 1)
    for found in (first, first, second, first, second):
        workers.give(found)
    assert (num_given(folder), [first.task_index, second.task_index]) == (2, [0, 1])


def test_a_run_whose_worker_is_gone_at_the_start_is_planned_again(lab: Any, workers: Workers) -> None:
    lab.dataset()
    schedule.begin_next(lab.context, workers)
    voice = lab.outbox("r1", 1)
    voice.send("started", pid=1, started_at=0.0, resumed_from=None)
    voice.send("step", step=1, total_steps=4, loss=2.0)
    Lane(lab.context, Workers(lab.context)).recover()
    assert [step for step, _ in lab.steps("r1")] == [1]
    assert (lab.run("r1"), lab.run("r1", "attempts")) == ("running", 0)
    assert open_tasks(lab) == [] and "run.crashed" in lab.codes
    with lab.store.transaction() as tx:
        assert tx.scalar(select(t.workers.c.state)) == "ended"


def test_a_run_that_went_on_without_a_supervisor_says_so(lab: Any, workers: Workers) -> None:
    lab.dataset()
    schedule.begin_next(lab.context, workers)
    began = process_started_at(os.getpid())
    assert began is not None
    worker_box.write_card(lab.workspace.worker("w1"), worker_box.WorkerCard(os.getpid(), began, 0))
    voice = lab.outbox("r1", 1)
    voice.send("started", pid=1, started_at=0.0, resumed_from=None)
    voice.event("info", "best-so-far", "said while nobody listened")
    Lane(lab.context, Workers(lab.context)).recover()
    assert lab.codes[-2:] == ["best-so-far", "run.found"] and "run.crashed" not in lab.codes


def test_a_run_that_finished_while_nobody_listened_is_concluded_at_the_start(lab: Any, workers: Workers) -> None:
    dataset = lab.dataset()
    schedule.begin_next(lab.context, workers)
    lab.publish("main", 1, [dataset])
    lab.outbox("r1", 1).finished(WorkerExit.DONE)
    Lane(lab.context, Workers(lab.context)).recover()
    assert lab.run("r1") == "done" and "run.crashed" not in lab.codes


def test_the_next_run_is_prepared_before_the_evaluation_once(lab: Any, workers: Workers) -> None:
    first, second = lab.dataset(1), lab.dataset(2)
    schedule.begin_next(lab.context, workers)
    lab.publish("main", 1, [first])
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, "r1", {"exit": int(WorkerExit.DONE)})
        candidate = versions.get_version(tx, "main", 1)
    for _ in range(2):
        schedule.prepare_next(lab.context, workers, candidate)
    assert tasks(lab) == ["r1", "prepare-r2"]
    prepared = read_job(lab.workspace.tasks / "prepare-r2")
    assert isinstance(prepared, PrepareJob)
    assert ([ref.id for ref in prepared.job.new], [ref.id for ref in prepared.job.replay]) == ([second], [first])
    assert lab.run("r2", "model") is None


@pytest.mark.parametrize("how", ["finished", "failed", "lost"])
def test_the_folder_of_an_ended_preparation_goes_and_it_is_not_prepared_again(
    lab: Any, workers: Workers, how: str
) -> None:
    first = lab.dataset(1)
    lab.dataset(2)
    schedule.begin_next(lab.context, workers)
    lab.publish("main", 1, [first])
    lab.publish("main", 1, ["d1"])
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, "r1", {"exit": int(WorkerExit.DONE)})
        tx.execute(t.assignments.update().values(state="finished"))
        candidate = versions.get_version(tx, "main", 1)
    schedule.prepare_next(lab.context, workers, candidate)
    assert [path.name for path in lab.workspace.tasks.iterdir()] == ["prepare-r2"]
    if how != "lost":
        lab.preparer("r2").finished(WorkerExit.DONE if how == "finished" else WorkerExit.CRASH)
    Lane(lab.context, Workers(lab.context)).recover()  # nobody works any more: what was not said is lost
    assert list(lab.workspace.tasks.iterdir()) == [] and lab.run("r2") == "queued"
    schedule.prepare_next(lab.context, workers, candidate)
    assert list(lab.workspace.tasks.iterdir()) == []


def test_a_parked_run_goes_on_while_its_parent_is_the_champion_else_a_new_one_begins(
    lab: Any, workers: Workers
) -> None:
    for number in (1, 2):
        lab.dataset(number)
    schedule.begin_next(lab.context, workers)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="parked")
        tx.execute(t.assignments.update().values(state="lost"))
        queue.retry(tx, "j1")
    assert schedule.begin_next(lab.context, workers)
    assert (lab.run("r1"), lab.run("r1", "fence"), lab.run("r1", "version")) == ("running", 2, 1)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="parked")
        tx.execute(t.assignments.update().values(state="lost"))
    schedule.begin_next(lab.context, workers)
    finish(lab, 2)
    with lab.store.transaction() as tx:
        queue.retry(tx, "j1")
    assert schedule.begin_next(lab.context, workers)
    assert (lab.run("r1"), lab.run("r3"), lab.run("r3", "job")) == ("stopped", "queued", "j1")
    assert schedule.begin_next(lab.context, workers)
    assert job(lab, "r3").parent is not None


def test_a_run_paused_by_hand_holds_the_line_and_a_waiting_one_does_not_count_as_idle(
    lab: Any, workers: Workers
) -> None:
    for number in (1, 2):
        lab.dataset(number)
    lane = Lane(lab.context, workers)
    assert not lane.is_idle()
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="paused", code="asked")
    lane.tick()
    assert lane.is_idle() and lab.run("r2") == "queued"
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", code="disk-full")
    assert not lane.is_idle()


def test_a_wait_before_the_next_attempt_is_kept(lab: Any, workers: Workers) -> None:
    lab.dataset()
    with lab.store.transaction() as tx:
        line_for(tx, lab.workspace, lab.context.spec.model)
        set_fields(tx, t.runs, "r1", state="running", model="main", version=1, fence=1, not_before=lab.clock.now + 5)
    lane = Lane(lab.context, workers)
    assert not lane.tick() and open_tasks(lab) == []
    lab.clock.now += 5.1
    assert lane.tick() and [found.subject for found in open_tasks(lab)] == ["r1"]


def test_a_pause_is_asked_of_the_worker_until_it_is_heard(lab: Any, workers: Workers) -> None:
    lab.dataset()
    lane = Lane(lab.context, workers)
    assert lane.tick()
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", wanted="pause")
    for _ in range(3):
        lane.tick()
        lab.clock.now += 1.1
    path = lab.workspace.run("r1") / "control.jsonl"
    kinds = [orjson.loads(line)["kind"] for line in path.read_bytes().splitlines()]
    assert kinds == ["pause"] * 3
    lab.outbox("r1", 1).finished(WorkerExit.PAUSED)
    lane.tick()
    assert lab.run("r1") == "paused" and not lane.is_busy


def test_a_worker_that_could_not_even_say_that_the_disk_is_full_is_understood(lab: Any, workers: Workers) -> None:
    lab.dataset()
    lane = Lane(lab.context, workers)
    assert lane.tick()
    lane._worker_ended("w1", int(WorkerExit.DISK_FULL))
    assert (lab.run("r1"), lab.run("r1", "code")) == ("paused", "disk-full")


def test_a_worker_that_went_idle_as_a_task_was_given_costs_no_attempt(lab: Any, workers: Workers) -> None:
    lab.dataset()
    lane = Lane(lab.context, workers)
    assert lane.tick()
    lane._worker_ended("w1", 0)
    assert (lab.run("r1"), lab.run("r1", "attempts")) == ("running", 0) and "run.crashed" not in lab.codes


def test_a_worker_that_grew_past_the_setting_has_grown(
    lab: Any, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([500 << 20, 900 << 20, 900 << 20])

    class Grown:
        def memory_bytes(self) -> int:
            return next(sizes)

    monkeypatch.setattr(workers, "_process", Grown())
    assert not workers.has_grown()
    workers.note_memory()
    lab.spec(worker={"growth_megabytes": 500})
    assert not workers.has_grown()
    lab.spec(worker={"growth_megabytes": 300})
    assert workers.has_grown()


def test_another_method_begins_another_line_at_the_next_run(lab: Any, workers: Workers) -> None:
    for number in (1, 2):
        lab.dataset(number)
    schedule.begin_next(lab.context, workers)
    finish(lab, 1)
    lab.spec(model={"method": "lora"})
    schedule.begin_next(lab.context, workers)
    made = job(lab, "r2")
    assert (made.model_name, made.version, made.parent, made.replay) == ("main-2", 1, None, ())
    assert "model.new-line" in lab.codes
