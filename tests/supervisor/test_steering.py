"""Changes asked of a run: checked, recorded, repeated until they are answered, taken up at a start."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import insert, select

from stoker.errors import InvalidInput, NotAllowed, NotFound, UsageError, WorkerExit
from stoker.mailbox.control import CONTROL
from stoker.mailbox.journal import JournalReader
from stoker.spec.jobs import read_job
from stoker.store import queries
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import ingest, queue, recover, steering
from stoker.supervisor.lane import Lane
from stoker.supervisor.workers import Workers


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


def ask(lab: Any, request: str = "q1", run: str = "r1", **changes: Any) -> None:
    with lab.store.transaction() as tx:
        steering.set_run(tx, {"run": run, "request": request, "changes": changes})


def changes(lab: Any, run: str = "r1") -> list[tuple[Any, ...]]:
    with lab.store.transaction() as tx:
        found = queries.run_detail(tx.connection, run)["changes"]
    return [(change["name"], change["old"], change["new"], change["state"], change["step"]) for change in found]


def control(lab: Any) -> list[dict[str, Any]]:
    return JournalReader(lab.workspace.run("r1") / CONTROL).read()


def running(lab: Any, workers: Workers) -> Lane:
    lab.dataset(1)
    lane = Lane(lab.context, workers)
    assert lane.tick()
    return lane


def test_a_change_is_requested_sent_until_answered_and_then_applied(lab: Any, workers: Workers) -> None:
    lane = running(lab, workers)
    ask(lab, lr=1e-4, max_grad_norm=0.5)
    assert changes(lab) == [
        ("learning_rate", None, 1e-4, "requested", None), ("max_grad_norm", None, 0.5, "requested", None),
    ]  # fmt: skip
    for _ in range(2):
        lab.clock.now += 2.0
        lane.listen()
    sent = control(lab)
    assert [record["kind"] for record in sent] == ["set", "set"]
    assert sent[0]["request"]["id"] == "q1" and sent[0]["request"]["changes"] == {
        "learning_rate": 1e-4,
        "max_grad_norm": 0.5,
    }
    for name, old, new in (("learning_rate", 2e-4, 1e-4), ("max_grad_norm", 1.0, 0.5)):
        lab.outbox("r1", 1).send(
            "change", request="q1", name=name, old=old, new=new, state="applied", step=7, reason="asked"
        )
    lab.clock.now += 2.0
    lane.listen()
    assert changes(lab)[0] == ("learning_rate", 2e-4, 1e-4, "applied", 7)
    lab.clock.now += 2.0
    lane.listen()
    assert len(control(lab)) == 3, "what is answered is not sent again"


def test_an_answer_that_comes_again_changes_nothing(lab: Any, workers: Workers) -> None:
    running(lab, workers)
    said = {
        "request": "q1",
        "name": "rollback",
        "old": 9,
        "new": 4,
        "state": "applied",
        "step": 4,
        "reason": "",
        "time": 1.0,
        "fence": 1,
    }
    with lab.store.transaction() as tx:
        ingest.enter_run(tx, "r1", [{"kind": "change", **said}])
    assert lab.run("r1", "step") == 4 and changes(lab) == [("rollback", 9, 4, "applied", 4)]
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", step=8)
        ingest.enter_run(tx, "r1", [{"kind": "change", **said}])
    assert lab.run("r1", "step") == 8


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"learning_rate": 3}, InvalidInput, "above 1.0"),
        ({"batch_size": 0}, InvalidInput, "below 1"),
        ({"lerning_rate": 1e-4}, InvalidInput, "did you mean learning_rate"),
        ({"epochs": 3}, InvalidInput, "can't change while a run goes on"),
        ({"batch_tokens": 512, "batch_size": 4}, InvalidInput, "in tokens or in rows"),
        ({}, UsageError, "nothing to set"),
    ],
)
def test_a_change_that_breaks_a_rule_is_refused_before_anything_changes(
    lab: Any, workers: Workers, asked: dict[str, Any], error: type[Exception], words: str
) -> None:
    running(lab, workers)
    with pytest.raises(error, match=words):
        ask(lab, **asked)
    assert changes(lab) == []


@pytest.mark.parametrize("state", ["done", "failed", "stopped"])
def test_a_run_that_is_over_is_not_steered(lab: Any, workers: Workers, state: str) -> None:
    running(lab, workers)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state=state)
    with pytest.raises(NotAllowed, match=state):
        ask(lab, lr=1e-4)
    with pytest.raises(NotAllowed), lab.store.transaction() as tx:
        steering.skip_run(tx, "r1")
    assert changes(lab) == []


def test_what_is_asked_of_a_waiting_run_is_in_the_job_it_starts_with(lab: Any, workers: Workers) -> None:
    lab.dataset(1)
    ask(lab, lr=1e-4)
    assert Lane(lab.context, workers).tick()
    job = read_job(lab.workspace.run("r1"))
    assert [(request.id, request.changes) for request in job.asked] == [("q1", {"learning_rate": 1e-4})]  # type: ignore[union-attr]


def test_what_a_run_ends_before_taking_up_is_rejected_with_its_end(lab: Any, workers: Workers) -> None:
    running(lab, workers)
    ask(lab, lr=1e-4)
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, "r1", {"exit": int(WorkerExit.NON_FINITE), "reason": "NaN"})
    assert changes(lab)[0][3] == "rejected"


def test_a_rollback_goes_to_a_checkpoint_that_is_there(lab: Any, workers: Workers) -> None:
    running(lab, workers)
    folder = lab.workspace.run("r1")
    for step in (4, 8):
        (folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    with pytest.raises(NotFound, match="0, 4, 8"), lab.store.transaction() as tx:
        steering.roll_back_run(tx, folder, {"run": "r1", "request": "q1", "to": 5})
    with lab.store.transaction() as tx:
        steering.roll_back_run(tx, folder, {"run": "r1", "request": "q1", "to": 8})
        steering.roll_back_run(tx, folder, {"run": "r1", "request": "q2", "to": "best"})
        asked = steering.requested(tx, "r1")
    assert [(request.kind, request.to) for request in asked] == [("rollback", 8), ("rollback", "best")]


def test_a_runs_detail_is_json_with_its_changes_and_events(lab: Any, workers: Workers) -> None:
    running(lab, workers)
    ask(lab, lr=1e-4)
    with lab.store.transaction() as tx:
        detail = orjson.loads(orjson.dumps(queries.run_detail(tx.connection, "r1")))
    assert {"request", "name", "old", "new", "state", "step", "reason", "asked_at", "at"} == detail["changes"][0].keys()
    assert [event["code"] for event in detail["events"]][-1] == "run.change-asked"


def test_a_run_gets_the_settings_it_is_watched_and_healed_by(lab: Any, workers: Workers) -> None:
    lab.spec(recover={"max_rollbacks": 7}, watch={"spike_rise": 3.0})
    running(lab, workers)
    job = read_job(lab.workspace.run("r1"))
    assert job.recover.max_rollbacks == 7 and job.watch.spike_rise == 3.0  # type: ignore[union-attr]


def test_a_skipped_run_ends_its_file_is_not_trained_and_the_next_job_goes_on(lab: Any, workers: Workers) -> None:
    lane = running(lab, workers)
    second = lab.dataset(2)
    for _ in range(2):
        with lab.store.transaction() as tx:
            if queue.get_run(tx, "r1").wanted is None:
                steering.skip_run(tx, "r1")
    lab.clock.now += 2.0
    lane.listen()
    assert control(lab)[-1]["kind"] == "stop"
    lab.outbox("r1", 1).finished(WorkerExit.PAUSED, "stop")
    lab.clock.now += 2.0
    lane.tick()
    assert (lab.run("r1"), lab.run("r1", "code")) == ("stopped", "skipped")
    assert lab.value(t.datasets, f"d{1:012x}", "state") == "ready"
    with lab.store.transaction() as tx:
        run = queue.next_run(tx)
        assert run is not None and run.dataset == second
        assert tx.first(select(t.versions.c.run)) is None
        assert [job["id"] for job in queries.queue(tx.connection)] == ["j2"]
