"""A worker that the kernel ended for memory: told as such, and its run goes on in smaller parts."""

from __future__ import annotations

import signal
from typing import Any

from sqlalchemy import insert

from stoker.spec.jobs import JOB, TrainJob
from stoker.store import tables as t
from stoker.supervisor import schedule
from stoker.supervisor.lane import Lane
from stoker.supervisor.workers import Workers


def job(lab: Any) -> TrainJob:
    return TrainJob.model_validate_json((lab.workspace.run("r1") / JOB).read_bytes())


def start(lab: Any) -> tuple[Lane, Workers]:
    lab.dataset()
    workers = Workers(lab.context)
    with lab.store.transaction() as tx:
        tx.execute(insert(t.workers).values(id="w1", number=1, state="alive", created=0.0))
    lab.workspace.worker("w1").mkdir()
    workers.id = "w1"
    workers.start = lambda: "w1"  # type: ignore[method-assign]
    assert schedule.begin_next(lab.context, workers)
    lane = Lane(lab.context, workers)
    lane.refresh()
    lab.outbox("r1", 1).send("plan", total_steps=10, accumulation=4)
    lane.listen()
    return lane, workers


def test_a_run_goes_on_in_twice_as_many_parts_and_so_after_every_start(lab: Any) -> None:
    lane, workers = start(lab)
    workers._memory_kills -= 1  # the kernel counted one since the worker began
    lane._worker_ended("w1", -signal.SIGKILL)
    assert job(lab).least_accumulation == 8
    assert lab.codes[-2:] == ["recovery.memory-tightened", "run.crashed"]
    assert "had no memory left" in lab.texts[-1]
    lab.clock.now += 100
    lane.tick()
    assert (job(lab).fence, job(lab).least_accumulation) == (2, 8)


def test_a_worker_killed_by_someone_is_only_tried_again(lab: Any) -> None:
    lane, workers = start(lab)
    workers._memory_kills = 10**9
    lane._worker_ended("w1", -signal.SIGKILL)
    assert job(lab).least_accumulation == 1 and lab.codes[-1] == "run.crashed"
    assert "signal 9" in lab.texts[-1]
