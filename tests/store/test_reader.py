"""What the command line reads: fixed fields, words for things, labs without a store or a supervisor."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from stoker.errors import NotFound, UsageError
from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.store.series import put_points
from stoker.store.store import Store, Transaction
from stoker.workspace import Workspace


@pytest.fixture
def lab(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.create()
    store = Store(workspace.store, now=lambda: 1000.0)
    store.claim()
    with store.transaction() as transaction:
        fill(transaction)
    store.close()
    return workspace


def fill(tx: Transaction) -> None:
    for number, name in enumerate(["d1aa", "d1ab", "d2cc"], start=1):
        tx.execute(insert(t.files).values(sha256=name * 2, name=f"{name}.jsonl", bytes=9, accepted_at=1.0))
        counts = {"rows_in": 10, "train": 7, "held_out": 1, "duplicate": 1, "quarantined": 1}
        tx.execute(
            insert(t.datasets).values(
                id=name, number=number, file_sha256=name * 2, name=f"{name}.jsonl", state="trained", format="chat",
                reasons={"no-answer": 1}, notes=["small"], created=1.0, **counts,
            )
        )  # fmt: skip
        tx.execute(insert(t.jobs).values(id=f"j{number}", number=number, dataset=name, position=number, created=1.0))
    states = {1: "done", 2: "running", 3: "queued"}
    for number, state in states.items():
        dataset = ["d1aa", "d1ab", "d2cc"][number - 1]
        more = {"model": "main", "version": number, "step": 4, "total_steps": 8, "loss": 1.5} if number < 3 else {}
        tx.execute(
            insert(t.runs).values(
                id=f"r{number}", number=number, job=f"j{number}", dataset=dataset, state=state, created=1.0, **more
            )
        )
    tx.execute(insert(t.models).values(name="main", number=1, family="main", base="tiny", revision="main",
                                       shape={"method": "full"}, champion=1, created=1.0))  # fmt: skip
    tx.execute(insert(t.versions).values(model="main", version=1, run="r1", state="published", method="full",
                                         weights_sha256="ab" * 32, base_sha256="cd" * 32, steps=8, datasets=["d1aa"],
                                         outcome="promoted", created=2.0))  # fmt: skip
    tx.execute(
        insert(t.evaluations).values(id="e1", number=1, run="r1", model="main", version=1, state="done", created=2.0)
    )
    tx.execute(insert(t.comparisons).values(
        evaluation="e1", candidate="main/v1", against="base", benchmark="heldout", metric="nll", n=16,
        candidate_score=1.0, against_score=2.0, difference=-1.0, low=-1.2, high=-0.8, p_value=0.001, outcome="better",
        is_primary=True,
    ))  # fmt: skip
    tx.execute(insert(t.verdicts).values(evaluation="e1", promote=True, outcome="better", reason="it is", time=3.0))
    put_points(tx, "r2", (("loss", step, 2.0 - step / 10) for step in range(1, 5)))
    tx.event("info", "run.started", "r2 starts", run="r2")
    tx.event("warn", "evaluation.crashed", "e1 again", evaluation="e1")


def test_the_lists_have_exactly_the_published_fields(lab: Workspace) -> None:
    reader = Reader(lab)
    assert list(reader.datasets()[0]) == [
        "id", "name", "state", "format", "rows_in", "train", "held_out", "duplicate", "quarantined",
        "standing",
    ]  # fmt: skip
    assert list(reader.runs()[0]) == ["id", "state", "model", "version", "dataset", "step", "total_steps", "loss"]
    assert {"model", "version", "parent", "run", "champion", "weights_sha256"} <= set(reader.versions()[0])
    assert list(reader.comparisons()[0]) == [
        "candidate", "against", "benchmark", "metric", "n", "candidate_score", "against_score", "difference", "low", "high",
        "p_value", "outcome", "minimum_detectable_effect", "p_value_corrected", "is_primary",
    ]  # fmt: skip
    assert {"state", "run", "worker_pid", "queue"} <= set(reader.status())


def test_a_dataset_is_shown_with_its_reasons(lab: Workspace) -> None:
    detail = Reader(lab).dataset_detail("d1aa")
    assert (detail["reasons"], detail["notes"], detail["runs"]) == ({"no-answer": 1}, ["small"], ["r1"])


def test_the_queue_lists_what_is_not_over_with_the_running_job_first(lab: Workspace) -> None:
    assert [(job["id"], job["state"]) for job in Reader(lab).queue()] == [("j2", "running"), ("j3", "queued")]


def test_steps_come_in_order_and_from_where_the_caller_stands(lab: Workspace) -> None:
    reader = Reader(lab)
    assert [step["step"] for step in reader.metrics("r2")] == [1, 2, 3, 4]
    assert [step["step"] for step in reader.metrics("r2", after_step=3)] == [4]


def test_the_events_of_a_run_include_those_of_its_evaluation(lab: Workspace) -> None:
    reader = Reader(lab)
    assert [event["code"] for event in reader.events(run="r1")] == ["evaluation.crashed"]
    assert [event["code"] for event in reader.events(min_severity="warn")] == ["evaluation.crashed"]
    assert [event["code"] for event in reader.events(limit=1)] == ["evaluation.crashed"]


@pytest.mark.parametrize(
    ("reference", "found"),
    [("v1", ("main", 1)), ("main/v1", ("main", 1)), ("1", ("main", 1)), ("main", ("main", 1)), ("@champion", ("main", 1)),
     ("@latest", ("main", 1)), ("main/@best", ("main", 1)), ("ma/v1", ("main", 1))],
)  # fmt: skip
def test_a_version_is_found_by_each_of_its_words(lab: Workspace, reference: str, found: tuple[str, int]) -> None:
    assert Reader(lab).resolve_version(reference) == found


@pytest.mark.parametrize("reference", ["v2", "other/v1", "@newest", "", "v", "v-1", "v1.5", "/", "v99999999999"])
def test_a_version_that_is_not_there_is_not_found(lab: Workspace, reference: str) -> None:
    with pytest.raises((NotFound, UsageError)):
        Reader(lab).resolve_version(reference)


def test_ids_are_found_by_unique_prefixes_only(lab: Workspace) -> None:
    reader = Reader(lab)
    assert reader.resolve("dataset", "d2") == "d2cc"
    assert reader.resolve("dataset", "@latest") == "d2cc"
    assert reader.resolve("run", "@best") == "r1"
    with pytest.raises(UsageError, match="d1aa, d1ab"):
        reader.resolve("dataset", "d1")
    with pytest.raises(NotFound, match="data list"):
        reader.resolve("dataset", "d3")


def test_a_lab_without_a_store_reads_as_empty(tmp_path: Path) -> None:
    reader = Reader(Workspace(tmp_path))
    assert (reader.datasets(), reader.runs(), reader.queue(), reader.events()) == ([], [], [], [])
    assert reader.status()["state"] == "off"


def test_a_reader_can_change_nothing(lab: Workspace) -> None:
    with Reader(lab).connect() as connection, pytest.raises(OperationalError, match="readonly"):
        connection.execute(insert(t.lab).values(key="a", value=1))
