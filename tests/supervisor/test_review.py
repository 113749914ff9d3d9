"""A person's decision about rows reaches the counts and the next runs, and nothing else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import insert

from stoker.data.intake import take_in
from stoker.data.quality.decisions import read_decided
from stoker.errors import WorkerExit
from stoker.mailbox.intents import await_reply, post_intent
from stoker.mailbox.messages import Outbox
from stoker.registry.lineage import dataset_refs
from stoker.spec.jobs import JOB, BaseRef, DatasetRef, IntakeJob, TrainJob
from stoker.spec.lab import ModelSpec, RetentionSpec, TrainSpec
from stoker.store import queries
from stoker.store import tables as t
from stoker.store.records import DatasetRecord
from stoker.store.store import set_fields
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.ingest import enter_run
from stoker.supervisor.intake import record_summary
from stoker.supervisor.intents import Intents

NAME = "d1"


@pytest.fixture
def ask(lab: Any) -> Any:
    """Post a decision, let it be carried out, return the reply."""
    intents = Intents(lab.context, Inbox(lab.context), lambda: None)

    def post(verb: str, token: str = "", **fields: Any) -> dict[str, Any]:
        token = token or orjson.dumps([verb, fields]).decode()
        intent = post_intent(lab.workspace.intents, "data.review", dataset=NAME, verb=verb, token=token, **fields)
        assert intents.tick()
        reply = await_reply(lab.workspace.intents, intent, 0.1)
        assert reply is not None
        return reply

    return post


@pytest.fixture
def taken(lab: Any) -> Any:
    """A lab that has taken a file of 80 rows; its job is queued."""
    source = lab.workspace.tasks / "rows.jsonl"
    words = (
        "ash",
        "birch",
        "cedar",
        "elm",
        "fir",
        "gum",
        "hazel",
        "iris",
        "kauri",
        "larch",
        "maple",
        "neem",
        "oak",
        "yew",
    )
    rows = (
        {
            "prompt": f"Which {words[n % 14]} of field {n * 37} was felled in {n * 53}?",
            "completion": f"Number {n * 11} of {n}.",
        }
        for n in range(80)
    )
    source.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    folder = lab.workspace.tasks / "intake"
    folder.mkdir()
    reference = DatasetRef(id=NAME, folder=lab.workspace.dataset(NAME), name="rows.jsonl")
    outbox = Outbox(folder)
    summary = take_in(IntakeJob(dataset=reference, file=source, file_sha256="ab" * 32), folder, outbox)
    outbox.finished(WorkerExit.DONE)
    with lab.store.transaction() as tx:
        tx.execute(insert(t.files).values(sha256="ab" * 32, name="rows.jsonl", bytes=1, accepted_at=0.0))
        values = {
            "id": NAME,
            "number": 1,
            "file_sha256": "ab" * 32,
            "name": "rows.jsonl",
            "state": "reading",
            "created": 0.0,
        }
        tx.execute(insert(t.datasets).values(**values))
        row = tx.first(t.datasets.select())
        record_summary(tx, DatasetRecord.of(row), summary)
    return lab


def detail(lab: Any) -> dict[str, Any]:
    with lab.store.transaction() as tx:
        return queries.dataset_detail(tx.connection, NAME)


def lines(lab: Any, num: int) -> dict[int, str]:
    from stoker.data.dataset import Dataset

    rows = Dataset(lab.workspace.dataset(NAME)).train_rows()
    return {row.line: row.id for row in rows[:num]}


def removed(lab: Any) -> list[str]:
    """Return what a run that starts now would leave out."""
    with lab.store.transaction() as tx:
        (reference,) = dataset_refs(tx, lab.workspace, [NAME])
    return list(reference.removed)


def test_a_removed_row_is_quarantined_and_the_rows_still_add_up(taken: Any, ask: Any) -> None:
    before, chosen = detail(taken), lines(taken, 3)
    reply = ask("remove", rows=[str(line) for line in chosen])
    assert reply["error"] is None and reply["result"]["number"] == 1 and reply["result"]["rows"] == 3
    after = detail(taken)
    assert (after["train"], after["quarantined"]) == (before["train"] - 3, before["quarantined"] + 3)
    assert after["rows_in"] == after["train"] + after["held_out"] + after["duplicate"] + after["quarantined"] == 80
    assert after["reasons"]["removed-by-review"] == 3 and after["quarantined_in_training"] == []
    assert [row["line"] for row in after["removed_by_review"]] == sorted(chosen)
    assert removed(taken) == sorted(chosen.values())
    assert taken.codes[-1] == "rows.removed" and "3 rows of rows.jsonl removed by a person" in taken.texts[-1]


def test_undo_restores_rows_and_counts(taken: Any, ask: Any) -> None:
    before, chosen = detail(taken), list(lines(taken, 4))
    ask("remove", rows=[str(chosen[0]), str(chosen[1])])
    ask("remove", rows=[str(chosen[2])])
    ask("keep", rows=[str(chosen[0]), str(chosen[3])])
    assert detail(taken)["reasons"]["removed-by-review"] == 2 and len(removed(taken)) == 2
    ask("undo", numbers=[3])
    assert len(removed(taken)) == 3
    ask("undo", numbers=[1, 2])
    assert detail(taken) == before and removed(taken) == []
    assert ask("undo", numbers=[9])["error"]["exit_code"] == 3


def test_a_repeated_wish_is_carried_out_once(taken: Any, ask: Any) -> None:
    line = next(iter(lines(taken, 1)))
    for _ in range(2):
        assert ask("remove", token="same", rows=[str(line)])["result"]["number"] == 1
    assert detail(taken)["reasons"]["removed-by-review"] == 1
    assert len(read_decided(taken.workspace.review(NAME)).decisions) == 1


def test_counts_follow_a_decision_that_a_kill_left_without_them(taken: Any, ask: Any) -> None:
    """The file is written before the store; the intent comes again with its token."""
    from stoker.data.quality.decisions import append_decision

    (line, row), *_ = lines(taken, 1).items()
    append_decision(taken.workspace.review(NAME), "remove", {row: line}, 1.0, "cut short")
    assert "removed-by-review" not in detail(taken)["reasons"]
    ask("remove", token="cut short", rows=[str(line)])
    assert detail(taken)["reasons"]["removed-by-review"] == 1


def test_held_out_rows_and_the_last_rows_are_not_removed(taken: Any, ask: Any) -> None:
    from stoker.data.dataset import Dataset

    sealed = Dataset(taken.workspace.dataset(NAME)).heldout_rows()[0]
    refused = ask("remove", rows=[str(sealed.line)])["error"]
    assert refused["exit_code"] == 4 and "bias" in refused["why"]
    everything = lines(taken, 80)
    refused = ask("remove", rows=list(everything.values()))["error"]
    assert refused["exit_code"] == 4 and "queue remove" in refused["remedy"]
    assert detail(taken)["quarantined"] == 0 and removed(taken) == []
    assert ask("dance", rows=["1"])["error"]["exit_code"] == 2


def test_a_row_that_proved_too_long_is_not_counted_twice(taken: Any, ask: Any) -> None:
    (line, row), *_ = lines(taken, 1).items()
    long = {
        "kind": "quarantined",
        "dataset": NAME,
        "time": 1.0,
        "rows": [{"row": row, "line": line, "code": "too-long", "reason": "long"}],
        "fence": 1,
    }
    with taken.store.transaction() as tx:
        enter_run(tx, "r1", [long])
    before = detail(taken)
    ask("remove", rows=[str(line)])
    assert {**detail(taken)} == before and removed(taken) == [row]


def job(lab: Any, run: str, version: int, new: DatasetRef, replay: tuple[DatasetRef, ...] = ()) -> None:
    """Leave a run's resolved job as the supervisor does when it starts."""
    written = TrainJob(
        run=run, fence=1, base=BaseRef(name="tiny"), base_folder=lab.workspace.bases / "tiny", new=(new,), replay=replay,
        output=lab.workspace.version("main", version), model_name="main", version=version, model=ModelSpec(),
        train=TrainSpec(), retention=RetentionSpec(), tokens=lab.workspace.tokens,
    )  # fmt: skip
    folder = lab.workspace.run(run)
    folder.mkdir(parents=True)
    (folder / JOB).write_text(written.model_dump_json())


def test_versions_that_trained_the_row_and_runs_that_keep_it_are_named(taken: Any, ask: Any) -> None:
    (line, _), *_ = lines(taken, 1).items()
    other = taken.dataset(2)
    with taken.store.transaction() as tx:
        (reference,) = dataset_refs(tx, taken.workspace, [NAME])
        (second,) = dataset_refs(tx, taken.workspace, [other])
        runs = [row.id for row in tx.rows(t.runs.select().order_by(t.runs.c.number))]
        shape = {"family": "main", "base": "tiny", "revision": "main", "shape": {}, "created": 0.0}
        tx.execute(insert(t.models).values(name="main", number=1, **shape))
        for number, (run, datasets) in enumerate(zip(runs, ([NAME], [NAME, other]), strict=True), 1):
            facts = {"method": "full", "weights_sha256": "a", "base_sha256": "b", "steps": 1, "created": float(number)}
            tx.execute(
                insert(t.versions).values(
                    model="main", version=number, run=run, state="published", datasets=datasets, **facts
                )
            )
            set_fields(tx, t.runs, run, state="done" if number == 1 else "running")
    job(taken, runs[0], 1, reference)
    job(taken, runs[1], 2, second, (reference,))
    result = ask("remove", rows=[str(line)])["result"]
    assert (result["trained_by"], result["continued_by"], result["under_way"]) == (["main/v1"], ["main/v2"], [runs[1]])
    begun = TrainJob.model_validate_json((taken.workspace.run(runs[1]) / JOB).read_bytes())
    assert begun.replay[0].removed == (), "a run that has begun keeps its job"
    assert len(removed(taken)) == 1, "the next one does not have the row"
