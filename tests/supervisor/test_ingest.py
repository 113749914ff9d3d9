"""Messages into the store: exactly once, of the right fence, rows conserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from stoker.mailbox.messages import MESSAGES
from stoker.store import queries, series_queries
from stoker.store import tables as t
from stoker.store.sample_queries import samples
from stoker.store.store import set_fields
from stoker.supervisor import ingest


def start(lab: Any, fence: int = 1) -> str:
    lab.dataset()
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="running", fence=fence, model="main", version=1)
    return "r1"


def read(lab: Any) -> list[dict[str, Any]]:
    with lab.store.transaction() as tx:
        return ingest.read_run(tx, "r1", lab.workspace.run("r1"))


def send_steps(outbox: Any, first: int, last: int, loss: float = 1.0) -> None:
    for step in range(first, last + 1):
        outbox.send("step", step=step, total_steps=9, loss=loss / step, learning_rate=1e-3, grad_norm=None, tokens=5)


def test_each_message_is_entered_once_however_often_it_is_read(lab: Any) -> None:
    start(lab)
    outbox = lab.outbox("r1", 1)
    send_steps(outbox, 1, 3)
    outbox.event("warn", "slow", "it is slow", seconds=3)
    assert len(read(lab)) == 4
    assert read(lab) == []
    send_steps(outbox, 4, 4)
    assert len(read(lab)) == 1
    assert [step for step, _ in lab.steps("r1")] == [1, 2, 3, 4]
    assert (lab.run("r1", "step"), lab.run("r1", "total_steps"), lab.run("r1", "loss")) == (4, 9, 0.25)
    assert lab.codes.count("slow") == 1


def test_a_crash_within_the_transaction_leaves_the_offset_too(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start(lab)
    send_steps(lab.outbox("r1", 1), 1, 3)
    with pytest.raises(ZeroDivisionError), lab.store.transaction() as tx:
        ingest.read_run(tx, "r1", lab.workspace.run("r1"))
        raise ZeroDivisionError
    assert lab.steps("r1") == [] and lab.run("r1", "offset") == 0
    assert len(read(lab)) == 3


def test_messages_of_an_older_fence_are_not_heard(lab: Any) -> None:
    start(lab, fence=2)
    send_steps(lab.outbox("r1", 1), 1, 5, loss=7.0)
    send_steps(lab.outbox("r1", 2), 1, 2)
    read(lab)
    assert lab.steps("r1") == [(1, 1.0), (2, 0.5)]


def test_steps_done_again_replace_themselves_and_what_was_beyond_the_checkpoint_is_forgotten(lab: Any) -> None:
    start(lab)
    send_steps(lab.outbox("r1", 1), 1, 4, loss=4.0)
    read(lab)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", fence=2)
    outbox = lab.outbox("r1", 2)
    outbox.send("started", pid=1, started_at=0.0, resumed_from=2)
    send_steps(outbox, 3, 3, loss=3.0)
    read(lab)
    assert lab.steps("r1") == [(1, 4.0), (2, 2.0), (3, 1.0)]
    assert "run.resumed" in lab.codes and lab.run("r1", "step") == 3


def test_half_a_line_waits_for_its_end(lab: Any) -> None:
    start(lab)
    send_steps(lab.outbox("r1", 1), 1, 1)
    path: Path = lab.workspace.run("r1") / MESSAGES
    with path.open("ab") as file:
        file.write(b'{"kind":"step","fence":1,"step":2,"lo')
    assert len(read(lab)) == 1
    assert read(lab) == []
    send_steps(lab.outbox("r1", 1), 3, 3)  # the next writer ends the torn line first
    assert [message["step"] for message in read(lab)] == [3]


def test_rows_quarantined_in_training_move_and_the_sum_stays(lab: Any) -> None:
    start(lab)
    dataset = f"d{1:012x}"
    rows = [{"row": "aa", "line": 3, "code": "too-long", "reason": "900 tokens"}, {"row": "bb", "line": 4, "code": "too-long", "reason": "x"}]  # fmt: skip
    for _ in range(2):
        lab.outbox("r1", 1).send("quarantined", dataset=dataset, rows=rows)
        read(lab)
    with lab.store.transaction() as tx:
        detail = queries.dataset_detail(tx.connection, dataset)
    assert (detail["train"], detail["quarantined"], detail["rows_in"]) == (6, 2, 10)
    assert detail["reasons"] == {"too-long": 2}
    assert lab.codes.count("rows.quarantined") == 1


def test_rows_of_a_spike_are_told_by_the_run_and_noted_with_their_dataset(lab: Any) -> None:
    start(lab)
    dataset = f"d{1:012x}"
    rows = [{"row": "aa", "line": 3, "code": "loss-spike", "reason": "the loss of step 3 was a spike"}]
    lab.outbox("r1", 1).send("quarantined", dataset=dataset, rows=rows)
    read(lab)
    with lab.store.transaction() as tx:
        [event] = tx.rows(select(t.events).where(t.events.c.code == "rows.quarantined"))
        assert queries.dataset_detail(tx.connection, dataset)["quarantined"] == 1
    assert (event.severity, event.run, event.dataset) == ("info", None, dataset)


def test_a_step_that_was_not_applied_and_a_damaged_checkpoint_become_events(lab: Any) -> None:
    start(lab)
    outbox = lab.outbox("r1", 1)
    outbox.send("skipped", step=3, reason="the gradient is not finite", loss=float("nan"), grad_norm=float("inf"))
    outbox.send("skipped", step=4, reason="the loss 380 is a spike (limit 7.9)", loss=380.0, grad_norm=115.0)
    outbox.send("damaged", folder="step-00000002", file="weights.safetensors", reason="its SHA-256 differs")
    outbox.send("checkpoint", step=4, folder="x", seconds=0.1, bytes=10, is_best=False, loss=1.0)
    read(lab)
    assert [code for code in lab.codes if "." in code][-3:] == ["step.skipped", "step.refused", "checkpoint.damaged"]
    assert lab.run("r1", "checkpoint_step") == 4


def test_the_tail_lets_steps_wait_and_nothing_else(lab: Any) -> None:
    start(lab)
    outbox = lab.outbox("r1", 1)
    tail = ingest.Tail(lab.workspace.run("r1"), 0)
    assert not tail.has_news(0)
    send_steps(outbox, 1, 2)
    assert tail.has_news(0) and not tail.is_urgent()
    outbox.phase("save")
    assert tail.is_urgent()


def test_a_second_attempt_replaces_the_comparisons(lab: Any) -> None:
    start(lab)
    with lab.store.transaction() as tx:
        tx.execute(
            insert(t.evaluations).values(
                id="e1", number=1, run="r1", model="main", version=1, state="running", created=0.0
            )
        )
    folder = lab.workspace.evaluation("e1")
    row = {
        "candidate": "main/v1",
        "against": "base",
        "benchmark": "heldout",
        "metric": "nll",
        "n": 3,
        "outcome": "better",
        "is_primary": True,
    }
    for score in (1.0, 2.0):
        lab.judge("e1").send("result", comparisons=[{**row, "candidate_score": score}], verdict={"promote": True})
        with lab.store.transaction() as tx:
            ingest.read_evaluation(tx, "e1", folder)
    with lab.store.transaction() as tx:
        assert [found.candidate_score for found in tx.rows(select(t.comparisons))] == [2.0]


def series_of(lab: Any, name: str) -> dict[int, float | None]:
    with lab.store.transaction() as tx:
        found = series_queries.series(tx.connection, "r1", [name])[name]
    return dict(zip(found["at"], found["value"], strict=True))


def test_layer_norms_and_held_out_losses_become_series(lab: Any) -> None:
    start(lab)
    outbox = lab.outbox("r1", 1)
    send_steps(outbox, 1, 2)
    outbox.send("layers", step=2, norms={"layers.0": 0.5, "layers.1": None})
    outbox.send("evaluation", step=2, heldout_loss=1.25, rows=8, seconds=0.1)
    read(lab)
    assert series_of(lab, "grad_norm/layers.0") == {2: 0.5} and series_of(lab, "grad_norm/layers.1") == {2: None}
    assert series_of(lab, "heldout_loss") == {2: 1.25}
    assert lab.run("r1", "step") == 2


def test_a_rollback_forgets_the_steps_it_takes_back_even_within_one_batch(lab: Any) -> None:
    start(lab)
    outbox = lab.outbox("r1", 1)
    send_steps(outbox, 1, 6)
    outbox.send("evaluation", step=6, heldout_loss=9.0, rows=8, seconds=0.1)
    outbox.send("rollback", from_step=6, to_step=3, leg=1, reason="divergence")
    send_steps(outbox, 4, 4, loss=8.0)
    read(lab)
    assert lab.steps("r1") == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 2.0)]
    assert lab.run("r1", "step") == 4
    with lab.store.transaction() as tx:
        assert "heldout_loss" not in series_queries.series_names(tx.connection, "r1")


def test_a_run_that_begins_again_from_the_start_forgets_all(lab: Any) -> None:
    start(lab)
    send_steps(lab.outbox("r1", 1), 1, 3)
    read(lab)
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", fence=2)
    lab.outbox("r1", 2).send("started", pid=1, started_at=0.0, resumed_from=None)
    read(lab)
    assert lab.steps("r1") == []


def test_a_cost_counts_steps_that_were_done_twice_and_each_stretch(lab: Any) -> None:
    start(lab)
    for fence in (1, 2):
        with lab.store.transaction() as tx:
            set_fields(tx, t.runs, "r1", fence=fence)
        outbox = lab.outbox("r1", fence)
        outbox.send("started", pid=1, started_at=0.0, resumed_from=None, device="cuda:0", threads=4)
        for step in (1, 2):
            outbox.send("step", step=step, loss=1.0, tokens=10, rows=2, seconds=0.5)
        read(lab)
    with lab.store.transaction() as tx:
        cost = tx.rows(select(t.run_costs))[0]
    assert (cost.gpu_seconds, cost.rows, cost.tokens, cost.device, cost.threads) == (2.0, 8, 40, "cuda:0", 4)
    assert [stretch[0] for stretch in cost.stretches] == [1, 2] and cost.joules is None
    assert all(begin <= end for _, begin, end in cost.stretches)


def test_layer_norms_can_wait_for_more_steps(lab: Any) -> None:
    start(lab)
    outbox = lab.outbox("r1", 1)
    outbox.send("layers", step=2, norms={"layers.0": 0.5})
    tail = ingest.Tail(lab.workspace.run("r1"), 0)
    assert tail.has_news(0) and not tail.is_urgent()
    outbox.send("evaluation", step=2, heldout_loss=1.0, rows=8, seconds=0.1)
    assert tail.is_urgent()


def send_sample(outbox: Any, step: int, answer: str, **fields: Any) -> None:
    fields = {"prompt": "2 + 2?", "expected": "4", "is_match": answer == "4", "nll": 0.5, **fields}
    outbox.send("sample", step=step, probe=1, answer=answer, **fields)


def test_samples_are_entered_once_a_step_and_a_step_that_is_done_again_replaces_them(lab: Any) -> None:
    start(lab)
    outbox = lab.outbox("r1", 1)
    send_sample(outbox, 10, "5", nll=float("nan"))
    send_sample(outbox, 20, "5")
    send_sample(outbox, 20, "4")
    read(lab)
    with lab.store.transaction() as tx:
        (probe,) = samples(tx.connection, "r1")
    assert (probe["probe"], probe["prompt"], probe["expected"]) == (1, "2 + 2?", "4")
    assert [(one["step"], one["answer"], one["is_match"], one["nll"]) for one in probe["samples"]] == [
        (10, "5", False, None),
        (20, "4", True, 0.5),
    ]
