"""Versions of a dataset: which file follows which, whose rows count, and going back and forth between them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from stoker.errors import NotAllowed, NotFound
from stoker.mailbox.intents import await_reply, post_intent
from stoker.registry import families
from stoker.registry.lineage import counting_refs, earlier_refs
from stoker.registry.lines import line_for
from stoker.registry.versions import publish
from stoker.store import families as reads
from stoker.store import queries
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import queue
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intake import approve
from stoker.supervisor.intents import Intents
from stoker.supervisor.standing import roll_back


def follow(lab: Any, number: int, replaces: int | None = None) -> str:
    """Make a ready dataset: of its own, or one that replaces another."""
    dataset: str = lab.dataset(number)
    with lab.store.transaction() as tx:
        if replaces is None:
            families.enter(tx, dataset, f"f{number}.jsonl", f"{number:064x}")
        else:
            families.enter(tx, dataset, f"f{number}.jsonl", f"{number:064x}")
            families.declare(tx, f"{number:064x}", f"d{replaces:012x}")
    return dataset


def extend(lab: Any, number: int, name: str = "f1.jsonl") -> str:
    dataset: str = lab.dataset(number)
    with lab.store.transaction() as tx:
        set_fields(tx, t.datasets, dataset, name=name)
        families.enter(tx, dataset, name, f"{number:064x}")
    return dataset


def out(lab: Any) -> dict[str, list[str]]:
    with lab.store.transaction() as tx:
        return reads.keepers(reads.standings(tx.connection))


def standing(lab: Any, dataset: str) -> tuple[int, str, bool]:
    with lab.store.transaction() as tx:
        one = reads.standings(tx.connection)[dataset]
    return one.version, one.relation, one.is_rolled_back


def back(lab: Any, dataset: str) -> dict[str, Any]:
    with lab.store.transaction() as tx:
        return roll_back(tx, dataset)


def queued(lab: Any) -> list[str]:
    with lab.store.transaction() as tx:
        return [job["dataset"] for job in queries.queue(tx.connection)]


def train(lab: Any, dataset: str, version: int, earlier: tuple[str, ...] = ()) -> None:
    """Record that a run trained a dataset into a version that replayed the earlier ones."""
    with lab.store.transaction() as tx:
        line_for(tx, lab.workspace, lab.context.spec.model)
        run = queue.find_run(tx, dataset=dataset)
        assert run is not None
        set_fields(tx, t.runs, run.id, state="done", model="main", version=version)
        set_fields(tx, t.datasets, dataset, state="trained")
        run = queue.get_run(tx, run.id)
        manifest = {"method": "full", "weights_sha256": "a" * 64, "datasets": [dataset], "replay": list(earlier)}
        publish(tx, run, manifest, [*earlier, dataset])


def test_a_file_of_the_same_name_extends_and_all_rows_go_on_counting(lab: Any) -> None:
    first, other, second = follow(lab, 1), follow(lab, 2), extend(lab, 3)
    assert [standing(lab, one) for one in (first, other, second)] == [
        (1, "first", False), (1, "first", False), (2, "extends", False)
    ]  # fmt: skip
    assert out(lab) == {}
    assert "dataset.version" in lab.codes and "the rows of both train" in lab.texts[-1]


def test_a_declared_file_replaces_and_the_old_rows_count_where_a_later_file_has_them(lab: Any) -> None:
    first = follow(lab, 1)
    second = follow(lab, 2, replaces=1)
    third = follow(lab, 3)
    assert standing(lab, second) == (2, "replaces", False)
    assert out(lab) == {first: [second, third]}
    fourth = follow(lab, 4, replaces=1)
    assert standing(lab, fourth) == (3, "replaces", False)
    assert out(lab) == {first: [third, fourth], second: [third, fourth]}


def test_a_replacement_counts_only_once_its_rows_are_usable(lab: Any) -> None:
    first, second = follow(lab, 1), follow(lab, 2, replaces=1)
    for state, expected in (("reading", {}), ("waiting", {}), ("rejected", {}), ("empty", {first: [second]})):
        with lab.store.transaction() as tx:
            set_fields(tx, t.datasets, second, state=state)
        assert out(lab) == expected, state


def test_a_declaration_before_the_file_and_one_after_it_end_alike(lab: Any, tmp_path: Path) -> None:
    first = follow(lab, 1)
    inbox = Inbox(lab.context)
    intents = Intents(lab.context, inbox, lambda: None)
    for name in ("before", "after"):
        file = tmp_path / f"{name}.jsonl"
        file.write_text(name)
    with lab.store.transaction() as tx:
        families.declare(tx, _sha256("before"), first)
    before = inbox.take(tmp_path / "before.jsonl", is_kept=True).dataset
    assert standing(lab, before) == (2, "replaces", False)
    after = inbox.take(tmp_path / "after.jsonl", is_kept=True).dataset
    assert standing(lab, after) == (1, "first", False)
    for _ in range(2):
        with lab.store.transaction() as tx:
            assert families.declare(tx, _sha256("after"), first) == after
        assert standing(lab, after) == (3, "replaces", False)
    assert not intents.tick()


def test_what_can_not_be_replaced_is_refused(lab: Any) -> None:
    first, second = follow(lab, 1), follow(lab, 2, replaces=1)
    with lab.store.transaction() as tx:
        with pytest.raises(NotFound):
            families.declare(tx, "f" * 64, "d9")
        with pytest.raises(NotAllowed, match="stoker data rollback"):
            families.declare(tx, f"{1:064x}", second)
        set_fields(tx, t.datasets, second, state="rejected")
        with pytest.raises(NotAllowed, match="rejected"):
            families.declare(tx, "f" * 64, second)
    assert standing(lab, first) == (1, "first", False)


def test_going_back_takes_later_versions_and_their_jobs_out_and_going_forward_undoes_it(lab: Any) -> None:
    first, second, third = follow(lab, 1), follow(lab, 2, replaces=1), follow(lab, 3, replaces=1)
    train(lab, first, 1)
    train(lab, second, 2, (first,))
    assert queued(lab) == [third]
    plan = back(lab, first)
    assert plan["rolled_back"] == [second, third] and plan["stopped"] == ["j3"] and plan["instead_of"] == third
    assert plan["trained_by"] == {second: ["main/v2"]}
    assert queued(lab) == [] and lab.run("r3") == "stopped"
    assert out(lab) == {second: [first], third: [first]}
    assert lab.codes[-1] == "dataset.rolled-back" and "main/v2" in lab.texts[-1]
    again = back(lab, third)
    assert (again["rolled_back"], again["restored"], again["queued"]) == ([], [second, third], [third])
    assert queued(lab) == [third] and lab.run("r3") == "queued"
    assert out(lab) == {first: [third], second: [third]}


def test_a_job_that_a_person_took_from_the_queue_stays_out(lab: Any) -> None:
    first, second = follow(lab, 1), follow(lab, 2, replaces=1)
    with lab.store.transaction() as tx:
        queue.remove(tx, "j2")
    back(lab, first)
    back(lab, second)
    assert queued(lab) == [first]


def test_a_run_of_a_version_that_is_rolled_back_is_asked_to_stop(lab: Any) -> None:
    first, second = follow(lab, 1), follow(lab, 2, replaces=1)
    a = t.assignments
    with lab.store.transaction() as tx:
        tx.execute(insert(t.workers).values(id="w1", number=1, state="alive", created=0.0))
        set_fields(tx, t.runs, "r2", state="running", fence=1)
        tx.execute(insert(a).values(worker="w1", task_index=0, kind="train", subject="r2", folder="", fence=1, state="given", time=0.0))  # fmt: skip
    back(lab, first)
    assert (lab.run("r2"), lab.run("r2", "wanted")) == ("running", "stop")
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r2", state="stopped", code="asked", wanted=None)
    back(lab, second)
    assert lab.run("r2") == "queued"


def test_what_is_rolled_back_is_neither_retried_nor_approved_nor_hurried(lab: Any) -> None:
    first, second = follow(lab, 1), follow(lab, 2, replaces=1)
    back(lab, first)
    with lab.store.transaction() as tx:
        for refused in (lambda: queue.retry(tx, "j2"), lambda: queue.hurry(tx, second)):
            with pytest.raises(NotAllowed, match=f"stoker data rollback {second}"):
                refused()
        set_fields(tx, t.datasets, second, state="waiting")
        with pytest.raises(NotAllowed, match="rolled back"):
            approve(tx, second)


def test_a_version_rolled_back_before_it_was_read_queues_no_job(lab: Any) -> None:
    first = follow(lab, 1)
    second = extend(lab, 2)
    with lab.store.transaction() as tx:
        tx.execute(t.runs.delete().where(t.runs.c.dataset == second))
        tx.execute(t.jobs.delete().where(t.jobs.c.dataset == second))
        set_fields(tx, t.datasets, second, state="accepted")
    with pytest.raises(NotAllowed, match="current"):
        back(lab, first)
    with lab.store.transaction() as tx:
        families.set_rolled_back(tx, second, is_rolled_back=True)
        row = tx.first(select(t.datasets).where(t.datasets.c.id == second))
        lab.ready(tx, row)
    assert queued(lab) == [first]
    back(lab, second)
    assert queued(lab) == [first, second]


def test_only_a_usable_other_version_becomes_current(lab: Any) -> None:
    first, second = follow(lab, 1), follow(lab, 2, replaces=1)
    with pytest.raises(NotAllowed, match="is current"):
        back(lab, second)
    with pytest.raises(NotFound):
        back(lab, "d9")
    with lab.store.transaction() as tx:
        set_fields(tx, t.datasets, first, state="rejected")
    with pytest.raises(NotAllowed, match="is rejected"):
        back(lab, first)


def test_wishes_of_the_command_line_are_carried_out_and_refusals_answered(lab: Any) -> None:
    first, second = follow(lab, 1), follow(lab, 2)
    intents = Intents(lab.context, Inbox(lab.context), lambda: None)
    folder = lab.workspace.intents

    def ask(kind: str, **fields: Any) -> dict[str, Any]:
        intent = post_intent(folder, kind, **fields)
        assert intents.tick()
        reply = await_reply(folder, intent, 5.0)
        assert reply is not None
        return reply

    assert ask("data.replaces", sha256=f"{2:064x}", dataset=first)["result"] == {"dataset": second}
    assert ask("data.rollback", dataset=first)["result"]["rolled_back"] == [second]
    again = ask("data.rollback", dataset=first)
    assert again["error"]["exit_code"] == 4 and "is current" in again["error"]["what"]
    assert ask("compare", items=[{"dataset": first}])["error"]["exit_code"] == 2
    assert ask("compare", items=[{"dataset": first}, {"dataset": second}])["result"] == {"trial": "t1"}


def test_references_say_which_rows_count(lab: Any) -> None:
    first, second, third = follow(lab, 1), follow(lab, 2, replaces=1), follow(lab, 3, replaces=1)
    everything = [first, second, third]
    with lab.store.transaction() as tx:
        refs = counting_refs(tx, lab.workspace, everything)
    assert [(ref.id, ref.kept_by) for ref in refs] == [
        (first, (lab.workspace.dataset(third),)), (second, (lab.workspace.dataset(third),)), (third, None)
    ]  # fmt: skip
    back(lab, second)
    with lab.store.transaction() as tx:
        assert [ref.is_rolled_back for ref in earlier_refs(tx, lab.workspace, everything)] == [False, False, True]
    for dataset in (first, second, third):
        with lab.store.transaction() as tx:
            families.set_rolled_back(tx, dataset, is_rolled_back=True)
    with lab.store.transaction() as tx:
        assert counting_refs(tx, lab.workspace, everything) == ()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
