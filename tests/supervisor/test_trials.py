"""A trial step by step: what is entered, queued, asked of the worker, and what ends it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import select

from stoker.errors import NotAllowed, NotFound, UsageError, WorkerExit
from stoker.registry import versions
from stoker.registry.lines import line_for
from stoker.store import queries, trial_queries
from stoker.store import tables as t
from stoker.store.records import RunRecord
from stoker.store.store import set_fields
from stoker.supervisor import conclude, queue, recover, schedule, trials
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intake import approve


def fill(lab: Any, dataset: str, rows: list[str], ledger: list[str] | None = None) -> None:
    """Put a dataset's folder there: its own rows, and those its file has."""
    folder = lab.workspace.dataset(dataset)
    folder.mkdir(parents=True)
    said = [{"id": row, "line": n + 1, "text": row} for n, row in enumerate(rows)]
    (folder / "rows.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in said))
    entries = [{"row": row, "state": "train" if row in rows else "duplicate", "line": 1} for row in ledger or rows]
    (folder / "ledger.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in entries))
    (folder / "dataset.json").write_bytes(orjson.dumps({"train": len(rows)}))


def three(lab: Any) -> tuple[str, str, str]:
    first, second, third = (lab.dataset(number) for number in (1, 2, 3))
    fill(lab, first, ["01", "02", "03"])
    fill(lab, second, ["04", "05"], ["02", "03", "04", "05"])
    fill(lab, third, ["06"])
    return first, second, third


def begin(lab: Any, *datasets: str, intent: str = "i1") -> str:
    return trials.begin_trial(lab.context, Inbox(lab.context), [{"dataset": one} for one in datasets], intent)


def advance(lab: Any) -> None:
    with lab.store.transaction() as tx:
        trials.advance(lab.context, tx)


def trial(lab: Any, name: str = "t1") -> dict[str, Any]:
    with lab.store.transaction() as tx:
        return trial_queries.trial(tx.connection, name)


def job_of(lab: Any, run_id: str) -> Any:
    """Resolve a run as it is when its turn comes."""
    with lab.store.transaction() as tx:
        schedule._resolve(lab.context, tx, queue.get_run(tx, run_id))
        run = queue.get_run(tx, run_id)
        return schedule._job(lab.context, tx, run, 1)


def finish(lab: Any, run_id: str, replay: list[str] | None = None) -> None:
    with lab.store.transaction() as tx:
        run: RunRecord = queue.get_run(tx, run_id)
        set_fields(tx, t.runs, run_id, state="running", fence=1)
    lab.publish(run.model, run.version, [run.dataset])
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, run_id, {"exit": int(WorkerExit.DONE)})


def test_branches_share_parent_settings_and_replay_and_each_trains_its_whole_file(lab: Any) -> None:
    first, second, _third = three(lab)
    assert begin(lab, first, second) == begin(lab, first, second) == "t1", "the same intent is the same trial"
    advance(lab)
    assert trial(lab)["state"] == "training"
    with lab.store.transaction() as tx:
        listed = [(job["dataset"], job["reason"]) for job in queries.queue(tx.connection)]
    assert listed[:2] == [(first, "a branch of trial t1"), (second, "a branch of trial t1")]
    one = job_of(lab, "r4")
    lab.spec(train={"seed": 7, "epochs": 3})
    finish(lab, "r4")
    other = job_of(lab, "r5")
    assert one.train == other.train and one.model == other.model and one.train.seed == 0
    assert (one.parent, other.parent) == (None, None) and (one.version, other.version) == (1, 2)
    assert [(ref.id, ref.kept_by) for ref in one.new] == [(first, None)]
    assert [(ref.id, ref.kept_by) for ref in other.new] == [(second, None), (first, (lab.workspace.dataset(second),))]
    assert job_of(lab, "r3").train.seed == 7, "a job of its own has the settings in force"


def test_the_parent_stays_what_it_was_and_neither_branch_replays_what_is_compared(lab: Any) -> None:
    first, second, third = three(lab)
    job_of(lab, "r3")
    finish(lab, "r3")
    with lab.store.transaction() as tx:
        versions.promote(tx, "main", 1, "better")
    begin(lab, first, second)
    advance(lab)
    one = job_of(lab, "r4")
    finish(lab, "r4")
    with lab.store.transaction() as tx:
        versions.promote(tx, "main", 2, "by hand, too early")
        with pytest.raises(NotAllowed, match="t1 may need it"):
            versions.delete(tx, "main", 1, is_confirmed=True)
    other = job_of(lab, "r5")
    assert one.parent.label == other.parent.label == "main/v1"
    assert [ref.id for ref in one.replay] == [ref.id for ref in other.replay] == [third]
    with lab.store.transaction() as tx:
        assert schedule._can_go_on(lab.context, tx, queue.get_run(tx, "r5"))


def test_all_branches_are_evaluated_together_and_nothing_is_promoted(lab: Any) -> None:
    first, second, _ = three(lab)
    begin(lab, first, second)
    advance(lab)
    for run in ("r4", "r5"):
        job_of(lab, run)
        finish(lab, run)
        advance(lab)
    assert trial(lab)["state"] == "evaluating"
    with lab.store.transaction() as tx:
        (evaluation,) = tx.rows(select(t.evaluations))
        found = conclude.next_evaluation(tx)
        assert found is not None
        job = conclude.build_job(lab.context, tx, found, versions.get_version(tx, "main", 1))
    assert (evaluation.id, evaluation.run, evaluation.trial) == ("e1", None, "t1")
    assert job.num_branches == 2 and job.candidate.label == "main/v1"
    assert [ref.label for ref in job.against] == ["main/v2", "base"]
    assert [[ref.id for ref in each.heldout] for each in job.sets] == [[first, second]]
    with lab.store.transaction() as tx:
        verdict = {"promote": True, "reason": "better", "outcome": "better"}
        conclude.evaluation_ended(lab.context, tx, "e1", [{"kind": "result", "verdict": verdict}])
    advance(lab)
    assert trial(lab)["state"] == "done" and lab.codes[-1] == "trial.done"
    with lab.store.transaction() as tx:
        assert versions.champion(tx, "main") is None


def test_a_promoted_branch_is_replayed_whole_by_the_next_run(lab: Any) -> None:
    first, second, third = three(lab)
    begin(lab, first, second)
    advance(lab)
    for run in ("r4", "r5"):
        job_of(lab, run)
        finish(lab, run)
    with lab.store.transaction() as tx:
        versions.promote(tx, "main", 2, "by hand")
    job = job_of(lab, "r3")
    assert [ref.id for ref in job.new] == [third] and job.parent.label == "main/v2"
    kept = (lab.workspace.dataset(second),)
    assert [(ref.id, ref.kept_by) for ref in job.replay] == [(second, None), (first, kept)]


def test_a_trial_waits_for_its_files_and_queues_them_only_as_branches(lab: Any) -> None:
    inbox = Inbox(lab.context)
    files = []
    for name in ("a", "b"):
        path = lab.workspace.root / f"{name}.jsonl"
        path.write_text(name)
        files.append({"path": str(path)})
    trials.begin_trial(lab.context, inbox, files, "i1")
    advance(lab)
    assert trial(lab)["state"] == "reading"
    for one in trial(lab)["branches"]:
        with lab.store.transaction() as tx:
            lab.ready(tx, tx.first(select(t.datasets).where(t.datasets.c.id == one["dataset"])))
        fill(lab, one["dataset"], ["07"])
    with lab.store.transaction() as tx:
        assert queries.queue(tx.connection) == []
    waiting = trial(lab)["branches"][0]["dataset"]
    with lab.store.transaction() as tx:
        set_fields(tx, t.datasets, waiting, state="waiting")
    advance(lab)
    assert trial(lab)["state"] == "reading"
    with lab.store.transaction() as tx:
        approve(tx, waiting)
        assert queries.queue(tx.connection) == []
    advance(lab)
    assert [one["run"] for one in trial(lab)["branches"]] == ["r1", "r2"]


def test_a_file_that_was_only_a_branch_gets_a_job_of_its_own_when_asked(lab: Any) -> None:
    first, second, _ = three(lab)
    with lab.store.transaction() as tx:
        for job in ("j1", "j2", "j3"):
            queue.remove(tx, job)
        tx.execute(t.runs.delete())
        tx.execute(t.jobs.delete())
    begin(lab, first, second)
    advance(lab)
    with lab.store.transaction() as tx:
        queue.hurry(tx, first)
        own = queue.find_own_run(tx, first)
        assert own is not None and queue.get_job(tx, own.job).trial is None


@pytest.mark.parametrize("state", ["rejected", "kept"])
def test_a_file_that_can_not_be_trained_ends_the_trial_with_its_name(lab: Any, state: str) -> None:
    first, second, _ = three(lab)
    begin(lab, first, second)
    with lab.store.transaction() as tx:
        set_fields(tx, t.datasets, second, state=state)
    advance(lab)
    assert trial(lab)["state"] == "failed" and f"f2.jsonl ({second}) is {state}" in trial(lab)["reason"]


def test_fewer_than_two_branches_are_no_comparison_and_two_of_three_are(lab: Any) -> None:
    begin(lab, *three(lab))
    advance(lab)
    for run in ("r4", "r5"):
        job_of(lab, run)
        finish(lab, run)
    advance(lab)
    assert trial(lab)["state"] == "training", "the third is still to come"
    with lab.store.transaction() as tx:
        queue.remove(tx, "j6")
    advance(lab)
    assert trial(lab)["state"] == "evaluating"
    begin(lab, *(one["dataset"] for one in trial(lab)["branches"]), intent="i2")
    advance(lab)
    with lab.store.transaction() as tx:
        for job in ("j7", "j8", "j9"):
            queue.remove(tx, job)
    advance(lab)
    assert trial(lab, "t2")["state"] == "failed" and "fewer than two" in trial(lab, "t2")["reason"]


def test_a_comparison_needs_two_datasets_that_are_there(lab: Any) -> None:
    first, _second, _ = three(lab)
    for words, error in (((first,), UsageError), ((first, first), UsageError), ((first, "d9"), NotFound)):
        with pytest.raises(error):
            begin(lab, *words)
    with lab.store.transaction() as tx:
        assert trial_queries.trials(tx.connection) == []
        line_for(tx, lab.workspace, lab.context.spec.model)


def test_a_dataset_says_what_it_was_compared_with(lab: Any) -> None:
    first, second, third = three(lab)
    begin(lab, first, second)
    with lab.store.transaction() as tx:
        assert queries.dataset_detail(tx.connection, first)["compared_with"] == [{"trial": "t1", "datasets": [second]}]
        assert queries.dataset_detail(tx.connection, third)["compared_with"] == []
