"""Accepted files through the real intake process: ready with a queued job, or rejected with a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from sqlalchemy import select

from stoker.errors import NotAllowed, WorkerExit
from stoker.launchers import local
from stoker.store import queries
from stoker.store import tables as t
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intake import MODULE, Intake, approve

GOOD = b"".join(
    orjson.dumps({"prompt": f"What is {n} and {n * 7}?", "answer": f"It is number {n * 8} of {n * 13}."}) + b"\n"
    for n in range(60)
)


def accept(lab: Any, name: str, content: bytes) -> str:
    path: Path = lab.workspace.inbox / name
    path.write_bytes(content)
    return Inbox(lab.context).take(path).dataset


def work(lab: Any, intake: Intake) -> None:
    deadline = time.monotonic() + 60
    while intake.tick() or intake.is_reading:
        lab.clock.now += 0.01
        assert time.monotonic() < deadline
        time.sleep(0.01)


def detail(lab: Any, dataset: str) -> dict[str, Any]:
    with lab.store.transaction() as tx:
        return queries.dataset_detail(tx.connection, dataset)


def test_a_good_file_becomes_a_dataset_with_its_job_queued(lab: Any) -> None:
    dataset = accept(lab, "good.jsonl", GOOD)
    work(lab, Intake(lab.context))
    found = detail(lab, dataset)
    assert found["state"] == "ready" and found["rows_in"] == 60
    assert found["train"] + found["held_out"] + found["duplicate"] + found["quarantined"] == 60
    assert (lab.run("r1"), lab.run("r1", "dataset")) == ("queued", dataset)
    assert (lab.workspace.dataset(dataset) / "rows.jsonl").is_file()
    assert list(lab.workspace.tasks.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.jsonl", b""), ("half.jsonl", b'{"prompt": "a", "ans'), ("bytes.jsonl", b"\xff\xfe\x00\x80" * 50), ("words.json", b"not json")],
)  # fmt: skip
def test_a_bad_file_is_rejected_with_its_report_and_the_next_goes_on(lab: Any, name: str, content: bytes) -> None:
    bad = accept(lab, name, content)
    good = accept(lab, "good.jsonl", GOOD)
    work(lab, Intake(lab.context))
    assert (detail(lab, bad)["state"], detail(lab, good)["state"]) == ("rejected", "ready")
    assert (lab.workspace.rejected / name).read_bytes() == content
    assert len((lab.workspace.rejected / f"{name}.report.txt").read_text()) > 40
    assert detail(lab, bad)["refusal"]
    assert "file.rejected" in lab.codes


def test_reading_yields_to_training_and_only_to_training(lab: Any) -> None:
    lab.spec(worker={"other_nice": 7})
    accept(lab, "good.jsonl", GOOD)
    intake = Intake(lab.context)
    intake.tick(beside_training=False)
    assert intake.process is not None
    reading, own = psutil.Process(intake.process.pid), psutil.Process().nice()
    assert reading.nice() == own
    intake.tick(beside_training=True)
    assert reading.nice() == 7
    intake.end()


def test_a_rejected_file_dropped_again_is_read_again(lab: Any) -> None:
    bad = accept(lab, "empty.jsonl", b"")
    work(lab, Intake(lab.context))
    assert accept(lab, "empty.jsonl", b"") == bad
    assert detail(lab, bad)["state"] == "accepted"
    work(lab, Intake(lab.context))
    assert detail(lab, bad)["state"] == "rejected"


POOR = b"".join(
    orjson.dumps({"prompt": f"What is {n} and {n * 7}?", "answer": f"As an AI, I can't say {n * 8}, {{{{name}}}}."})
    + b"\n"
    for n in range(60)
)


def test_a_file_of_low_score_waits_for_a_person(lab: Any) -> None:
    lab.spec(check={"stop_below": 80})
    poor = accept(lab, "poor.jsonl", POOR)
    good = accept(lab, "good.jsonl", GOOD)
    work(lab, Intake(lab.context))
    assert (detail(lab, poor)["state"], detail(lab, good)["state"]) == ("waiting", "ready")
    assert "dataset.waiting" in lab.codes and any("score 60" in text for text in lab.texts)
    assert lab.run("r1", "dataset") == good
    with lab.store.transaction() as tx:
        approve(tx, poor)
    assert detail(lab, poor)["state"] == "ready" and lab.run("r2", "dataset") == poor
    with lab.store.transaction() as tx, pytest.raises(NotAllowed, match="only a waiting dataset"):
        approve(tx, poor)


def test_a_file_of_middling_score_trains_with_a_warning(lab: Any) -> None:
    lab.spec(check={"stop_below": 50, "warn_below": 80})
    poor = accept(lab, "poor.jsonl", POOR)
    work(lab, Intake(lab.context))
    assert detail(lab, poor)["state"] == "ready" and "dataset.poor" in lab.codes
    lab.spec(check={"stop_below": 50, "warn_below": 55})
    lab.codes.clear()
    work_on = accept(lab, "again.jsonl", POOR.replace(b"What", b"Which"))
    work(lab, Intake(lab.context))
    assert detail(lab, work_on)["state"] == "ready" and "dataset.poor" not in lab.codes


def test_preference_rows_are_kept_and_queue_no_job(lab: Any) -> None:
    rows = [{"prompt": f"What is {n}?", "chosen": f"It is {n * 3}.", "rejected": "No idea."} for n in range(60)]
    kept = accept(lab, "pairs.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    work(lab, Intake(lab.context))
    found = detail(lab, kept)
    assert (found["state"], found["format"], found["rows_in"]) == ("kept", "preference", 60)
    assert "dataset.kept" in lab.codes and "dataset.ready" not in lab.codes


def test_a_file_of_known_rows_has_nothing_to_train_and_queues_no_job(lab: Any) -> None:
    accept(lab, "good.jsonl", GOOD)
    work(lab, Intake(lab.context))
    again = accept(lab, "again.jsonl", GOOD + b"\n")
    work(lab, Intake(lab.context))
    found = detail(lab, again)
    assert found["train"] == 0 and found["state"] in ("empty", "rejected")
    with lab.store.transaction() as tx:
        assert len(tx.rows(select(t.jobs))) == 1


def test_an_intake_process_that_is_killed_is_tried_again(lab: Any) -> None:
    dataset = accept(lab, "good.jsonl", GOOD)
    intake = Intake(lab.context)
    assert intake.tick() and intake.process is not None
    local.kill(intake.process)
    work(lab, intake)
    assert detail(lab, dataset)["state"] == "ready"
    assert "intake.crashed" in lab.codes


def test_a_file_that_ends_its_process_each_time_is_rejected(lab: Any) -> None:
    lab.spec(worker={"max_attempts": 2, "backoff_seconds": 0.0})
    dataset = accept(lab, "good.jsonl", GOOD)
    intake = Intake(lab.context)
    for _ in range(2):
        assert intake.tick() and intake.process is not None
        local.kill(intake.process)
        while intake.is_reading:
            intake.tick()
    assert detail(lab, dataset)["state"] == "rejected"
    assert "failed 2 times" in (lab.workspace.rejected / "good.jsonl.report.txt").read_text()


def test_a_supervisor_that_starts_ends_the_leftover_and_reads_anew(lab: Any) -> None:
    dataset = accept(lab, "good.jsonl", GOOD)
    first = Intake(lab.context)
    assert first.tick() and first.process is not None
    leftover = first.process
    while not local.find(MODULE, first.folder(dataset)):
        time.sleep(0.01)  # it is still becoming the other program
    second = Intake(lab.context)
    assert second.tick()
    assert not leftover.is_alive()
    work(lab, second)
    assert detail(lab, dataset)["state"] == "ready"
    with lab.store.transaction() as tx:
        assert len(tx.rows(select(t.jobs))) == 1
    first.end()


def test_a_silent_process_is_ended(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = accept(lab, "good.jsonl", GOOD)
    intake = Intake(lab.context)
    assert intake.tick()
    lab.context.awake.seconds += 10_000.0
    monkeypatch.setattr(intake, "_listen", lambda: None)
    assert intake.tick()
    assert detail(lab, dataset)["state"] == "accepted" and not intake.is_reading


def test_no_space_is_no_fault_of_the_file(lab: Any) -> None:
    dataset = accept(lab, "good.jsonl", GOOD)
    intake = Intake(lab.context)
    assert intake.tick()
    intake._finished = {"kind": "finished", "exit": int(WorkerExit.DISK_FULL), "reason": "disk full"}
    intake._conclude()
    assert (detail(lab, dataset)["state"], lab.value(t.datasets, dataset, "attempts")) == ("accepted", 0)
    lab.clock.now += 100.0
    work(lab, intake)
    assert detail(lab, dataset)["state"] == "ready"
