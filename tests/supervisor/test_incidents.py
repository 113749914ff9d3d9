"""Events of one cause are one incident: opened once, joined, worsened, recovered with an outcome."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from stoker.analysis.causes import CAUSES, SETTLES_AFTER_STEPS, causes_of
from stoker.spec.alerting import INCIDENT_KINDS, NEWS_KINDS
from stoker.store import alert_queries
from stoker.store import tables as t
from stoker.store.store import Store, set_fields
from stoker.supervisor import incidents

HALF_AN_HOUR = 1800.0


@pytest.fixture
def tell(lab: Any) -> Any:
    """Record an event and let it be read; return what changed."""
    lab.dataset()

    def happen(severity: str, code: str, text: str = "it happened", **fields: Any) -> list[str]:
        fields.setdefault("run", "r1")
        with lab.store.transaction() as tx:
            tx.event(severity, code, text, **fields)
        with lab.store.transaction() as tx:
            return [change.what for change in incidents.enter_events(tx, HALF_AN_HOUR)]

    with lab.store.transaction() as tx:
        incidents.enter_events(tx, HALF_AN_HOUR)
    return happen


def all_of(lab: Any) -> list[Any]:
    with lab.store.transaction() as tx:
        return tx.rows(select(t.incidents).order_by(t.incidents.c.number))


def at_step(lab: Any, step: int) -> list[str]:
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", step=step, state="running")
        return [change.what for change in incidents.settle(tx)]


def test_ten_events_of_one_cause_are_one_incident(lab: Any, tell: Any) -> None:
    changes = [tell("warn", "run.crashed", f"crash {number}") for number in range(10)]
    assert changes == [["opened"], *[[]] * 9]
    [incident] = all_of(lab)
    assert (incident.id, incident.kind, incident.subject) == ("i1", "crash", "r1")
    assert (incident.state, incident.num_events, incident.title) == ("open", 10, "crash 0")
    with lab.store.transaction() as tx:
        assert tx.scalar(select(t.events.c.incident).where(t.events.c.text == "crash 7")) == "i1"


def test_other_subjects_and_other_kinds_are_other_incidents(lab: Any, tell: Any) -> None:
    tell("warn", "run.crashed")
    tell("warn", "run.crashed", run="r2")
    tell("warn", "loss-spike")
    assert [(one.kind, one.subject) for one in all_of(lab)] == [("crash", "r1"), ("crash", "r2"), ("loss-spike", "r1")]


def test_a_hang_and_the_crash_that_ends_it_are_one_cause_and_a_later_crash_is_another(lab: Any, tell: Any) -> None:
    at_step(lab, 40)
    assert tell("critical", "hang", "the worker stands still") == ["opened"]
    assert tell("warn", "recovery.worker-ended", "worker 7 was ended") == []
    assert tell("warn", "run.crashed", "r1 lost its worker") == []
    assert at_step(lab, 41) == ["recovered"]
    assert [(one.kind, one.num_events, one.severity) for one in all_of(lab)] == [("hang", 3, "critical")]
    assert tell("warn", "run.crashed", "killed") == ["opened"]
    assert [(one.kind, one.state) for one in all_of(lab)] == [("hang", "recovered"), ("crash", "open")]


def test_a_batch_that_spikes_is_one_cause(lab: Any, tell: Any) -> None:
    tell("warn", "loss-spike", "the loss is 379")
    tell("warn", "gradients-exploding", "the norm is 115")
    tell("warn", "step.refused", "step 126 was not applied")
    tell("warn", "recovery.batch-quarantined", "2 rows are put aside")
    tell("info", "rows.quarantined", "2 rows are put aside", run=None, dataset=f"d{1:012x}")
    assert [(one.kind, one.num_events) for one in all_of(lab)] == [("loss-spike", 4)]


def test_gradients_that_explode_by_themselves_are_an_incident(lab: Any, tell: Any) -> None:
    assert tell("warn", "gradients-exploding") == ["opened"]
    assert [one.kind for one in all_of(lab)] == ["gradients-exploding"]


def test_a_pause_for_the_disk_is_part_of_what_was_done_about_the_disk(lab: Any, tell: Any) -> None:
    tell("warn", "non-finite")
    tell("critical", "disk-low")
    tell("warn", "recovery.paused", "r1 made room at step 3")
    tell("info", "disk.free", "there is space again")
    assert [(one.kind, one.outcome) for one in all_of(lab)][1] == (
        "disk",
        "r1 made room at step 3; there is space again",
    )


def test_ended_incidents_are_listed_newest_first_whichever_ended_last(lab: Any, tell: Any) -> None:
    tell("warn", "run.crashed")
    tell("critical", "disk-full")
    tell("info", "disk.free")
    tell("info", "run.done")
    tell("warn", "run.crashed", run="r2")
    with lab.store.transaction() as tx:
        assert [one["id"] for one in alert_queries.incidents(tx.connection)] == ["i3", "i2", "i1"]


def test_a_full_disk_is_one_cause_whoever_waits_for_it(lab: Any, tell: Any) -> None:
    tell("critical", "disk-full", run="r1")
    tell("critical", "disk-full", run=None, evaluation="e1")
    tell("warn", "disk-low", run=None)
    assert [(one.kind, one.subject, one.num_events) for one in all_of(lab)] == [("disk", "lab", 3)]
    assert tell("info", "disk.free", "there is space again: r1 goes on") == ["recovered"]
    [incident] = all_of(lab)
    assert (incident.state, incident.outcome) == ("recovered", "there is space again: r1 goes on")


def test_a_crash_is_over_when_the_run_came_further(lab: Any, tell: Any) -> None:
    at_step(lab, 40)
    tell("warn", "run.crashed")
    assert at_step(lab, 30) == []  # back at its checkpoint
    assert at_step(lab, 40) == []
    assert at_step(lab, 41) == ["recovered"]
    assert all_of(lab)[0].outcome == "it went on past step 41"


def test_a_parked_run_is_its_crash_grown_worse_and_a_retry_closes_it(lab: Any, tell: Any) -> None:
    tell("warn", "run.crashed", "crashed")
    assert tell("critical", "run.parked", "r1 is parked") == ["worse"]
    [incident] = all_of(lab)
    assert (incident.severity, incident.title, incident.state) == ("critical", "r1 is parked", "open")
    assert tell("info", "queue.retried", "j1 is queued again as r1") == []  # whoever did it knows
    assert (all_of(lab)[0].state, all_of(lab)[0].outcome) == ("closed", "j1 is queued again as r1")


def test_a_retry_that_makes_a_new_run_closes_what_the_old_one_left(lab: Any, tell: Any) -> None:
    tell("critical", "run.failed", "r1 failed")
    with lab.store.transaction() as tx:
        tx.execute(
            insert(t.runs).values(id="r2", number=2, job="j1", dataset=f"d{1:012x}", state="queued", created=0.0)
        )
    tell("info", "queue.retried", run="r2")
    assert [one.state for one in all_of(lab)] == ["closed"]


def test_a_divergence_tells_what_was_done_about_it(lab: Any, tell: Any) -> None:
    at_step(lab, 130)
    tell("warn", "divergence", "the loss rose", details={"step": 120})
    tell("warn", "recovery.rolled-back", "back to step 80", details={"from_step": 120, "to_step": 80})
    tell("warn", "recovery.rate-halved", "the rate is 5e-05 now")
    assert at_step(lab, 90) == [] and at_step(lab, 120) == []
    assert tell("info", "best-so-far", "the best loss so far, at step 135") == ["news", "recovered"]
    [incident] = all_of(lab)
    assert incident.outcome == "back to step 80; the rate is 5e-05 now; the best loss so far, at step 135"
    assert incident.step >= 120


def test_a_recovery_without_an_incident_opens_none_but_giving_up_does(lab: Any, tell: Any) -> None:
    assert tell("warn", "recovery.rolled-back") == []
    assert tell("critical", "recovery.gave-up") == ["opened"]
    assert [one.kind for one in all_of(lab)] == ["recovery"]


def test_a_done_run_ends_whatever_was_open_about_it(lab: Any, tell: Any) -> None:
    tell("warn", "run.crashed")
    tell("warn", "plateau")
    assert sorted(tell("info", "run.done", "r1 is done")) == ["news", "recovered", "recovered"]
    assert {one.state for one in all_of(lab)} == {"recovered"}


def test_what_comes_back_soon_is_the_same_incident_and_later_a_new_one(lab: Any, tell: Any) -> None:
    for _ in range(5):
        changes = tell("warn", "memory-trend")
        tell("info", "recovery.resumed")
    assert changes == []
    assert [(one.state, one.num_events) for one in all_of(lab)] == [("recovered", 10)]
    lab.clock.now += HALF_AN_HOUR + 1
    assert tell("warn", "memory-trend") == ["opened"]


def test_an_evaluation_that_fails_and_is_judged_after_all_recovers(lab: Any, tell: Any) -> None:
    with lab.store.transaction() as tx:
        tx.execute(
            insert(t.evaluations).values(
                id="e1", number=1, run="r1", model="main", version=1, state="queued", created=0.0
            )
        )
    tell("warn", "evaluation.crashed", run=None, evaluation="e1")
    assert tell("critical", "evaluation.failed", run=None, evaluation="e1") == ["worse"]
    assert tell("info", "verdict", run="r1") == ["recovered"]


def test_a_rejected_file_is_told_and_over_and_takes_its_crashes_along(lab: Any, tell: Any) -> None:
    assert tell("warn", "file.rejected", run=None, dataset="d1") == ["opened"]
    tell("warn", "intake.crashed", run=None, dataset="d2")
    assert tell("warn", "file.rejected", "too large", run=None, dataset="d2") == ["recovered"]
    assert [(one.kind, one.state, one.outcome) for one in all_of(lab)] == [
        ("rejected", "closed", None), ("intake", "closed", "too large"),
    ]  # fmt: skip


def test_a_waiting_dataset_is_open_until_a_person_approves(lab: Any, tell: Any) -> None:
    tell("warn", "dataset.waiting", run=None, dataset="d1")
    assert all_of(lab)[0].state == "open"
    tell("info", "dataset.approved", run=None, dataset="d1")
    assert all_of(lab)[0].state == "closed"


def test_a_code_that_nobody_listed_is_not_lost_and_information_opens_nothing(lab: Any, tell: Any) -> None:
    assert tell("warn", "something.new") == ["opened"]
    assert tell("info", "something.else") == []
    assert tell("info", "loss-outlier") == []
    assert tell("warn", "version.deleted") == []
    assert [one.kind for one in all_of(lab)] == ["other"]


def test_events_are_read_once_across_restarts(lab: Any, tell: Any) -> None:
    tell("warn", "run.crashed")
    again = Store(lab.workspace.store, now=lab.clock.time)
    again.claim()
    with again.transaction() as tx:
        assert incidents.enter_events(tx, HALF_AN_HOUR) == []
    again.close()


def test_a_transaction_that_fails_leaves_the_event_unread(lab: Any, tell: Any) -> None:
    with lab.store.transaction() as tx:
        tx.event("warn", "run.crashed", "crash", run="r1")
    with pytest.raises(RuntimeError), lab.store.transaction() as tx:
        incidents.enter_events(tx, HALF_AN_HOUR)
        raise RuntimeError("killed")
    assert all_of(lab) == []
    assert tell("info", "run.resumed") == ["opened"]


def test_every_kind_and_every_event_of_the_code_is_known() -> None:
    kinds = {kind for causes in CAUSES.values() for cause in causes for kind in cause.kinds}
    assert kinds <= {*INCIDENT_KINDS} and {*SETTLES_AFTER_STEPS} <= kinds
    assert {*INCIDENT_KINDS} - kinds == {"other"}
    code = "\n".join(path.read_text("utf-8") for path in Path("stoker").rglob("*.py"))
    said = set(re.findall(r'event\(\s*"(?:warn|critical)",\s*"([\w.-]+)"', code))
    assert len(said) > 20
    by_hand = {code for code, causes in CAUSES.items() if not causes}
    assert all(causes_of(one, "warn") for one in said - by_hand)
    assert not {*NEWS_KINDS} & {*INCIDENT_KINDS}
