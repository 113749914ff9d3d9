"""From a finished evaluation to the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from stoker.errors import NotFound, WorkerExit
from stoker.registry import versions
from stoker.registry.lines import line_for
from stoker.spec.jobs import EvaluateJob
from stoker.store import queries
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import conclude, ingest, recover


def finish_run(lab: Any, number: int, parent: int | None = None) -> str:
    """Take a file through its training; return the dataset."""
    dataset: str = lab.dataset(number)
    with lab.store.transaction() as tx:
        line_for(tx, lab.workspace, lab.context.spec.model)
        set_fields(tx, t.runs, f"r{number}", state="running", fence=1, model="main", version=number, parent=parent)
    lab.publish("main", number, [dataset])
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, f"r{number}", {"exit": int(WorkerExit.DONE)})
    return dataset


def judge(lab: Any, number: int, *, promote: bool, reason: str = "because") -> None:
    row = {"candidate": f"main/v{number}", "against": "base", "benchmark": "heldout", "metric": "nll", "n": 2,
           "candidate_score": 1.0, "against_score": 2.0, "difference": -1.0, "low": -2.0, "high": -0.5, "p_value": 0.01,
           "outcome": "better", "is_primary": True}  # fmt: skip
    voice = lab.judge(f"e{number}")
    voice.send("result", comparisons=[row], verdict={"promote": promote, "reason": reason, "outcome": "better"})
    voice.finished(WorkerExit.DONE)
    with lab.store.transaction() as tx:
        messages = ingest.read_evaluation(tx, f"e{number}", lab.workspace.evaluation(f"e{number}"))
        conclude.evaluation_ended(lab.context, tx, f"e{number}", messages)


def champion(lab: Any) -> int | None:
    with lab.store.transaction() as tx:
        found = versions.champion(tx, "main")
    return found.version if found else None


def job(lab: Any, number: int) -> EvaluateJob:
    with lab.store.transaction() as tx:
        evaluation = conclude.next_evaluation(tx)
        assert evaluation is not None and evaluation.id == f"e{number}"
        return conclude.build_job(lab.context, tx, evaluation, versions.get_version(tx, "main", number))


def test_a_verdict_to_promote_makes_the_candidate_the_champion(lab: Any) -> None:
    finish_run(lab, 1)
    judge(lab, 1, promote=True, reason="held-out loss fell by 1.0 (0.5 to 2.0)")
    assert champion(lab) == 1
    assert {"verdict", "version.promoted"} <= set(lab.codes)
    with lab.store.transaction() as tx:
        assert tx.scalar(select(t.versions.c.outcome)) == "promoted"
        assert queries.comparisons(tx.connection)[0]["candidate"] == "main/v1"


def test_a_verdict_to_keep_says_why_and_who_stays(lab: Any) -> None:
    finish_run(lab, 1)
    judge(lab, 1, promote=True)
    finish_run(lab, 2, parent=1)
    judge(lab, 2, promote=False, reason="no detectable difference")
    assert champion(lab) == 1
    assert lab.texts[-1] == "verdict on main/v2: no detectable difference; the champion stays main/v1"


def test_a_champion_chosen_by_hand_meanwhile_is_not_overridden(lab: Any) -> None:
    for number, parent in ((1, None), (2, 1)):
        finish_run(lab, number, parent)
        judge(lab, number, promote=True)
    finish_run(lab, 3, parent=2)
    with lab.store.transaction() as tx:
        versions.promote(tx, "main", 1, "by hand")
    judge(lab, 3, promote=True)
    assert champion(lab) == 1
    assert "changed by hand" in lab.texts[-1]


def test_the_candidate_meets_its_parent_and_the_base_on_everything_sealed_so_far(lab: Any) -> None:
    first = finish_run(lab, 1)
    (lab.workspace.benchmarks / "syllo-easy.jsonl").write_text("{}")
    alone = job(lab, 1)
    assert [ref.label for ref in alone.against] == ["base"]
    assert alone.against[0].folder is None and alone.against[0].weights_sha256 == "b" * 64
    judge(lab, 1, promote=True)
    second = finish_run(lab, 2, parent=1)
    both = job(lab, 2)
    assert [ref.label for ref in both.against] == ["main/v1", "base"]
    assert [(found.name, [ref.id for ref in found.heldout]) for found in both.sets] == [
        ("heldout", [first, second]), ("syllo-easy", []), ("basics", [])
    ]  # fmt: skip
    assert [ref.id for ref in both.trained] == [first, second]
    assert both.candidate.folder == lab.workspace.version("main", 2)


def test_a_file_without_sealed_rows_adds_nothing_to_the_held_out_set(lab: Any) -> None:
    finish_run(lab, 1)
    with lab.store.transaction() as tx:
        tx.execute(t.datasets.update().values(train=10, held_out=0))
    assert [found.name for found in job(lab, 1).sets] == ["basics"]


def test_the_basics_are_frozen_in_the_labs_state_and_give_way_to_a_benchmark_of_their_name(lab: Any) -> None:
    finish_run(lab, 1)
    asked = job(lab, 1).sets[-1]
    assert asked.name == "basics" and asked.benchmark == lab.workspace.basics / "basics.jsonl"
    assert asked.benchmark.is_file() and not list(lab.workspace.benchmarks.iterdir())
    own = lab.workspace.benchmarks / "basics.jsonl"
    own.write_text("{}")
    assert [found.benchmark for found in job(lab, 1).sets if found.name == "basics"] == [own]


def test_evaluate_forgetting_off_asks_no_basics(lab: Any) -> None:
    finish_run(lab, 1)
    settings = lab.context.spec.evaluate.model_copy(update={"forgetting": "off"})
    lab.context.spec = lab.context.spec.model_copy(update={"evaluate": settings})
    assert "basics" not in [found.name for found in job(lab, 1).sets]


def test_an_evaluation_cut_short_is_tried_again_and_then_given_up_with_the_champion_kept(lab: Any) -> None:
    finish_run(lab, 1)
    for attempt in (1, 2):
        with lab.store.transaction() as tx:
            conclude.retry_or_give_up(lab.context, tx, "e1", "signal 9")
        assert lab.value(t.evaluations, "e1", "state") == "queued"
        assert lab.value(t.evaluations, "e1", "not_before") == lab.clock.now + 5.0 * 2 ** (attempt - 1)
    with lab.store.transaction() as tx:
        conclude.retry_or_give_up(lab.context, tx, "e1", "signal 9")
    assert (lab.value(t.evaluations, "e1", "state"), champion(lab)) == ("failed", None)


def test_an_evaluation_that_says_done_without_a_verdict_is_tried_again(lab: Any) -> None:
    finish_run(lab, 1)
    with lab.store.transaction() as tx:
        conclude.evaluation_ended(lab.context, tx, "e1", [{"kind": "finished", "exit": 0}])
    assert (lab.value(t.evaluations, "e1", "state"), lab.value(t.evaluations, "e1", "attempts")) == ("queued", 1)


def test_a_result_ingested_before_a_restart_is_found_again(lab: Any) -> None:
    finish_run(lab, 1)
    lab.judge("e1").send("result", comparisons=[], verdict={"promote": True, "reason": "r", "outcome": "better"})
    folder: Path = lab.workspace.evaluation("e1")
    with lab.store.transaction() as tx:
        ingest.read_evaluation(tx, "e1", folder)
    lab.judge("e1").finished(WorkerExit.DONE)
    with lab.store.transaction() as tx:
        conclude.evaluation_ended(lab.context, tx, "e1", ingest.read_evaluation(tx, "e1", folder))
    assert champion(lab) == 1


def test_an_evaluation_by_hand_promotes_nothing(lab: Any) -> None:
    finish_run(lab, 1)
    judge(lab, 1, promote=False)
    with lab.store.transaction() as tx:
        assert conclude.ask_for(tx, "main", 1, []) == "e2"
        with pytest.raises(NotFound):
            conclude.ask_for(tx, "main", 7, [])
    voice = lab.judge("e2")
    voice.send("result", comparisons=[], verdict={"promote": True, "reason": "r", "outcome": "better"})
    with lab.store.transaction() as tx:
        messages = ingest.read_evaluation(tx, "e2", lab.workspace.evaluation("e2"))
        conclude.evaluation_ended(lab.context, tx, "e2", messages)
    assert champion(lab) is None
