"""What each end of a run's stretch leads to."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from stoker.errors import WorkerExit
from stoker.registry.lines import line_for
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import recover

DATASET = f"d{1:012x}"


def start(lab: Any, **columns: Any) -> None:
    lab.dataset()
    with lab.store.transaction() as tx:
        line_for(tx, lab.workspace, lab.context.spec.model)
        set_fields(tx, t.runs, "r1", state="running", fence=1, model="main", version=1, **columns)


def end(lab: Any, exit: int, **fields: Any) -> None:
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, "r1", {"kind": "finished", "exit": int(exit), "reason": "", **fields})


def crash(lab: Any, step: int | None = None) -> None:
    with lab.store.transaction() as tx:
        if step is not None:
            set_fields(tx, t.runs, "r1", step=step)
        recover.run_crashed(lab.context, tx, "r1", "worker w1 ended with signal 9")


def dataset_state(lab: Any) -> str:
    return str(lab.value(t.datasets, DATASET, "state"))


def test_a_done_run_publishes_its_version_and_queues_the_evaluation(lab: Any) -> None:
    start(lab)
    lab.publish("main", 1, [DATASET])
    end(lab, WorkerExit.DONE)
    assert (lab.run("r1"), dataset_state(lab)) == ("done", "trained")
    with lab.store.transaction() as tx:
        version = tx.first(select(t.versions))
        assert version is not None and version.datasets == [DATASET] and version.weights_sha256 == "1" * 64
        assert tx.scalar(select(t.evaluations.c.state)) == "queued"
        assert tx.scalar(select(t.models.c.base_sha256)) == "b" * 64
        assert tx.scalar(select(t.models.c.champion)) is None


def test_a_run_that_finished_early_is_done_and_says_why(lab: Any) -> None:
    start(lab)
    early = {"reason": "finished early at step 6 of 9", "stopped_at": 6, "weights_of_step": 4, "rows_not_reached": 3}
    lab.publish("main", 1, [DATASET], finished_early=early)
    end(lab, WorkerExit.DONE, reason=early["reason"])
    assert (lab.run("r1"), lab.run("r1", "code"), lab.run("r1", "reason")) == (
        "done",
        "finished-early",
        early["reason"],
    )
    assert dataset_state(lab) == "trained"
    with lab.store.transaction() as tx:
        told = tx.first(select(t.events).where(t.events.c.code == "run.done"))
    assert told is not None and early["reason"] in told.text and told.data["rows_not_reached"] == 3


def test_done_without_a_whole_version_is_a_crash(lab: Any) -> None:
    start(lab)
    end(lab, WorkerExit.DONE)
    assert lab.run("r1") == "running" and lab.run("r1", "attempts") == 1
    assert "run.crashed" in lab.codes


def test_a_file_counts_as_trained_only_when_the_manifest_lists_it(lab: Any) -> None:
    start(lab)
    lab.publish("main", 1, [])
    end(lab, WorkerExit.DONE)
    assert dataset_state(lab) == "ready"


@pytest.mark.parametrize(
    ("wanted", "state", "code"),
    [("pause", "paused", "asked"), ("stop", "stopped", "asked"), ("down", "paused", "down")],
)
def test_a_pause_that_was_asked_for_is_kept(lab: Any, wanted: str, state: str, code: str) -> None:
    start(lab, wanted=wanted)
    end(lab, WorkerExit.PAUSED)
    assert (lab.run("r1"), lab.run("r1", "code"), lab.run("r1", "wanted")) == (state, code, None)


def test_a_pause_nobody_asked_for_goes_on(lab: Any) -> None:
    start(lab)
    end(lab, WorkerExit.PAUSED)
    assert lab.run("r1") == "running" and lab.run("r1", "attempts") == 0


def test_a_run_paused_by_down_goes_on_at_the_next_start_one_paused_by_hand_does_not(lab: Any) -> None:
    for code, state in (("down", "running"), ("asked", "paused")):
        if code == "down":
            start(lab)
        with lab.store.transaction() as tx:
            set_fields(tx, t.runs, "r1", state="paused", code=code)
            recover.resume_after_down(tx)
        assert lab.run("r1") == state


def test_a_full_disk_waits_until_the_space_it_needs_is_there(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start(lab)
    monkeypatch.setattr(recover, "free_bytes", lambda path: 1000)
    end(lab, WorkerExit.DISK_FULL, needed_bytes=1 << 30)
    assert (lab.run("r1"), lab.run("r1", "code"), lab.run("r1", "needed_bytes")) == ("paused", "disk-full", 1 << 30)
    with lab.store.transaction() as tx:
        recover.wake_waiting(lab.context, tx)
    assert lab.run("r1") == "paused"
    monkeypatch.setattr(recover, "free_bytes", lambda path: 2 << 30)
    with lab.store.transaction() as tx:
        recover.wake_waiting(lab.context, tx)
    assert lab.run("r1") == "running" and lab.run("r1", "attempts") == 0


def test_a_worker_that_dies_on_a_full_disk_is_not_held_against_the_run(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(lab)
    monkeypatch.setattr(recover, "free_bytes", lambda path: 1000)
    crash(lab)
    assert (lab.run("r1"), lab.run("r1", "code"), lab.run("r1", "attempts")) == ("paused", "disk-full", 0)


def test_non_finite_and_bad_configuration_fail_with_the_reason(lab: Any) -> None:
    start(lab)
    end(lab, WorkerExit.NON_FINITE, reason="three steps in a row were not finite")
    assert (lab.run("r1"), lab.run("r1", "code")) == ("failed", "non-finite")
    assert "three steps" in lab.run("r1", "reason")


def test_a_bad_configuration_says_what_and_what_to_do_and_rejects_nothing(lab: Any) -> None:
    start(lab)
    end(
        lab,
        WorkerExit.BAD_CONFIG,
        what="no base at /models/x",
        why="the folder is not there",
        remedy="check model.base",
    )
    assert lab.run("r1", "reason") == "no base at /models/x; the folder is not there; check model.base"
    assert dataset_state(lab) == "ready"


def test_a_refused_mask_proof_puts_the_file_and_its_report_into_rejected(lab: Any) -> None:
    start(lab)
    fields = {"error": "MaskProofFailed", "what": "no token of line 7 is trained", "why": "w", "remedy": "r", "line": 7}
    end(lab, WorkerExit.BAD_CONFIG, **fields)
    assert (lab.run("r1"), dataset_state(lab)) == ("failed", "rejected")
    assert (lab.workspace.rejected / "f1.jsonl").read_bytes() == b"{}\n"
    report = (lab.workspace.rejected / "f1.jsonl.report.txt").read_text()
    assert "line 7" in report and "no token of line 7 is trained" in report


def test_crashes_wait_longer_each_time_and_then_park(lab: Any) -> None:
    start(lab)
    waits = []
    for _ in range(2):
        crash(lab)
        waits.append(lab.run("r1", "not_before") - lab.clock.now)
    assert waits == [5.0, 10.0]
    crash(lab)
    assert (lab.run("r1"), lab.run("r1", "code")) == ("parked", "crash")
    assert "stoker queue retry j1" in lab.texts[-1]


def test_progress_between_crashes_starts_the_count_again(lab: Any) -> None:
    start(lab)
    for step in (10, 20, 30, 40, 50):
        crash(lab, step)
        assert lab.run("r1", "attempts") == 0
    for attempts in (1, 2):
        crash(lab, 50)
        assert lab.run("r1", "attempts") == attempts
    crash(lab, 45)
    assert lab.run("r1") == "parked"


def test_the_number_of_attempts_and_the_wait_are_settings(lab: Any) -> None:
    lab.spec(worker={"max_attempts": 1})
    start(lab)
    crash(lab)
    assert lab.run("r1") == "parked"
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="running", attempts=0)
    lab.spec(worker={"max_attempts": 9, "backoff_seconds": 100.0})
    crash(lab)
    assert lab.run("r1", "not_before") == lab.clock.now + 100.0


def test_a_worker_lost_while_a_pause_was_asked_for_is_paused(lab: Any) -> None:
    start(lab, wanted="pause")
    crash(lab)
    assert (lab.run("r1"), lab.run("r1", "attempts")) == ("paused", 0)
