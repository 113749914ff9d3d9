"""`stoker data review`: a list that says why, and decisions that need a supervisor and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert

from stoker.data.accept import accept_file
from stoker.data.dataset import Dataset
from stoker.data.intake import take_in
from stoker.data.quality.decisions import append_decision
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import DatasetRef, IntakeJob
from stoker.store import tables as t
from stoker.store.store import Store
from stoker.workspace import Workspace


def rows(num: int) -> Iterator[dict[str, Any]]:
    for n in range(num):
        question = f"How many of the {n * 7 + 3} boxes on shelf {n} of hall {n % 9} were sold in week {n * 3}?"
        yield {"question": question, "answer": f"Of these boxes {n * 5} were sold, which leaves {n * 2 + 3} of them."}


@pytest.fixture
def taken(lab: Workspace, tmp_path: Path) -> Workspace:
    """A lab that has taken 200 rows, of which some are spoilt."""
    records = list(rows(200))
    for line in (20, 40, 60, 80, 100):
        records[line - 1]["answer"] = "sold sold of the boxes " * 12
    records[119]["answer"] = "As an AI, I can't say how many of these boxes were sold in that week."
    source = tmp_path / "boxes.jsonl"
    source.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    accepted = accept_file(source, tmp_path / "files")
    folder = lab.tasks / "t1"
    folder.mkdir()
    reference = DatasetRef(id="d1", folder=lab.dataset("d1"), name=source.name)
    outbox = Outbox(folder)
    summary = take_in(IntakeJob(dataset=reference, file=accepted.path, file_sha256=accepted.sha256), folder, outbox)
    outbox.finished(WorkerExit.DONE)
    counts = {name: summary[name] for name in ("rows_in", "train", "held_out", "duplicate", "quarantined", "format")}
    store = Store(lab.store, now=lambda: 1.0)
    store.claim()
    with store.transaction() as tx:
        file = {"sha256": accepted.sha256, "name": source.name, "bytes": accepted.bytes, "accepted_at": 1.0}
        tx.execute(insert(t.files).values(**file))
        record = {"id": "d1", "number": 1, "file_sha256": accepted.sha256, "name": source.name, "state": "ready"}
        tx.execute(insert(t.datasets).values(**record, created=1.0, **counts))
    store.close()
    return lab


def spoilt(lab: Workspace) -> list[int]:
    lines = {row.line for row in Dataset(lab.dataset("d1")).each_train_row()}
    return [line for line in (20, 40, 60, 80, 100) if line in lines]


def test_the_list_has_the_worst_first_with_line_words_and_reasons(stoker: Any, taken: Workspace) -> None:
    found = stoker("data", "review", "d1", "--json").json()
    removed = [row for row in found["rows"] if row["recommendation"] == "remove"]
    assert [row["line"] for row in removed] == spoilt(taken) and found["remove"] == len(removed) >= 3
    assert len(found["rows"]) == found["remove"] + found["review"] < found["num_rows"]
    assert removed[0]["answer"].startswith("sold sold") and removed[0]["prompt"].startswith("How many")
    assert {key: removed[0]["reasons"][0][key] for key in ("signal", "strength")} == {"signal": "loop", "strength": 0.9}
    scores = [row["score"] for row in found["rows"]]
    assert scores == sorted(scores, reverse=True)
    shown = stoker("data", "review", "d1").out
    assert f"line {removed[0]['line']}  remove" in shown and "because  the answer is a loop" in shown
    assert "not trained yet" in shown


def test_the_list_is_filtered_and_cut(stoker: Any, taken: Workspace) -> None:
    only = stoker("data", "review", "d1", "--recommend", "review", "--json").json()["rows"]
    assert {row["recommendation"] for row in only} <= {"review"}
    answer = stoker("data", "review", "d1", "--limit", "1")
    assert answer.out.count("because") >= 1 and answer.out.count("\nline ") == 1 and "--limit 0" in answer.out
    everything = stoker("data", "review", "d1", "--limit", "0", "--json").json()
    assert len(everything["rows"]) == everything["remove"] + everything["review"]


def test_a_row_that_a_person_decided_about_is_no_longer_listed(stoker: Any, taken: Workspace) -> None:
    first, second, *_ = stoker("data", "review", "d1", "--json").json()["rows"]
    append_decision(taken.review("d1"), "remove", {first["row"]: first["line"]}, 1.0, "a")
    append_decision(taken.review("d1"), "keep", {second["row"]: second["line"]}, 2.0, "b")
    found = stoker("data", "review", "d1", "--json").json()
    assert not {first["row"], second["row"]} & {row["row"] for row in found["rows"]}
    assert [one["decision"] for one in found["decisions"]] == ["remove", "keep"]
    shown = stoker("data", "review", "d1").out
    assert "decided by a person: 1 removed, 1 kept" in shown


def test_a_dry_run_says_which_rows_and_needs_no_supervisor(stoker: Any, taken: Workspace) -> None:
    found = stoker("data", "review", "d1", "--apply", "recommended", "--dry-run", "--json").json()
    assert [row["line"] for row in found["rows"]] == spoilt(taken)
    line = spoilt(taken)[0]
    assert f"lines {line}" in stoker("data", "review", "d1", "--remove", str(line), "--dry-run").out
    assert not taken.review("d1").exists()


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--remove", "20,40"), 7),
        (("--keep", "20"), 7),
        (("--apply", "recommended"), 4),  # nobody is there to ask
        (("--apply", "recommended", "--yes"), 7),
        (("--remove", "20", "--keep", "40"), 2),
        (("--remove", "twenty"), 2),
        (("--remove", "9999"), 3),
        (("--undo", "3"), 3),
        (("--undo", "perhaps"), 2),
        (("--undo", "last"), 0),  # there is nothing to undo
    ],
)
def test_decisions_end_with_the_code_of_their_kind(
    stoker: Any, taken: Workspace, args: tuple[str, ...], code: int
) -> None:
    if code == 7 and not {20, 40} <= set(spoilt(taken)):
        args = tuple(str(spoilt(taken)[0]) if word[0].isdigit() else word for word in args)
    answer = stoker("data", "review", "d1", *args)
    assert answer.code == code, answer.err
    assert not taken.review("d1").exists()


def test_a_held_out_row_is_not_removed(stoker: Any, taken: Workspace) -> None:
    sealed = Dataset(taken.dataset("d1")).heldout_rows()[0]
    answer = stoker("data", "review", "d1", "--remove", str(sealed.line), "--dry-run")
    assert answer.code == 4 and "bias what it proves" in answer.err
