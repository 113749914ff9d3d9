"""What the command line may ask, and what it is told when it may not."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.mailbox.intents import await_reply, pending_intents, post_intent
from stoker.store import queries
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor import queue
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intents import Intents


@pytest.fixture
def ask(lab: Any) -> Any:
    """Post an intent, let it be carried out, return the reply."""
    ended: list[bool] = []
    intents = Intents(lab.context, Inbox(lab.context), lambda: ended.append(True))

    def post(kind: str, **fields: Any) -> dict[str, Any]:
        intent = post_intent(lab.workspace.intents, kind, **fields)
        assert intents.tick()
        reply = await_reply(lab.workspace.intents, intent, 0.1)
        assert reply is not None
        return reply

    post.ended = ended  # type: ignore[attr-defined]
    return post


def order(lab: Any) -> list[str]:
    with lab.store.transaction() as tx:
        return [job["id"] for job in queries.queue(tx.connection)]


def turn(lab: Any) -> str | None:
    with lab.store.transaction() as tx:
        run = queue.next_run(tx)
    return run.job if run else None


@pytest.fixture
def three(lab: Any) -> Any:
    for number in (1, 2, 3):
        lab.dataset(number)
    return lab


def test_jobs_wait_in_the_order_of_acceptance(three: Any) -> None:
    assert order(three) == ["j1", "j2", "j3"]


def test_a_job_is_moved_before_another_first_and_last(three: Any, ask: Any) -> None:
    ask("queue.move", job="j3", before="j2")
    assert order(three) == ["j1", "j3", "j2"]
    ask("queue.move", job="j2", to="first")
    assert order(three) == ["j2", "j1", "j3"]
    ask("queue.move", job="j2", to="last")
    assert order(three) == ["j1", "j3", "j2"]


def test_a_larger_priority_goes_first_and_a_move_takes_the_neighbours(three: Any, ask: Any) -> None:
    ask("queue.priority", job="j3", priority=5)
    assert order(three) == ["j3", "j1", "j2"]
    ask("queue.move", job="j2", before="j3")
    assert order(three) == ["j2", "j3", "j1"]
    ask("queue.move", job="j1", to="first")
    assert order(three) == ["j1", "j2", "j3"]


def test_a_paused_queue_takes_nothing_and_a_held_job_is_passed_over(three: Any, ask: Any) -> None:
    ask("queue.pause", job=None)
    assert turn(three) is None
    ask("queue.resume", job=None)
    ask("queue.pause", job="j1")
    assert turn(three) == "j2"
    ask("queue.resume", job="j1")
    assert turn(three) == "j1"


def test_a_removed_job_is_gone_and_can_come_back(three: Any, ask: Any) -> None:
    ask("queue.remove", job="j2")
    assert order(three) == ["j1", "j3"] and three.run("r2") == "stopped"
    assert ask("queue.retry", job="j2")["result"] == {"run": "r2"}
    assert order(three) == ["j1", "j2", "j3"]


def test_a_failed_job_is_retried_with_a_new_run_a_parked_one_goes_on(three: Any, ask: Any) -> None:
    with three.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="failed")
        set_fields(tx, t.runs, "r2", state="parked", attempts=3)
    assert ask("queue.retry", job="j1")["result"] == {"run": "r4"}
    assert ask("queue.retry", job="j2")["result"] == {"run": "r2"}
    assert (three.run("r2"), three.run("r2", "attempts")) == ("queued", 0)


def test_a_refusal_is_answered_with_what_why_and_remedy(three: Any, ask: Any) -> None:
    with three.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="running")
    error = ask("queue.remove", job="j1")["error"]
    assert error == {"what": "j1 is running as r1", "why": "", "remedy": "stop it: stoker run stop r1", "exit_code": 4}
    assert ask("queue.move", job="j9", to="first")["error"]["exit_code"] == 3
    assert ask("queue.move", job="j2")["error"]["why"] == "a move needs a place"
    assert ask("queue.move", job="j2", before="j2")["error"]["exit_code"] == 4


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("no.such", {}), ("queue.move", {}), ("queue.priority", {"job": "j1", "priority": "high"}), ("model.promote", {"model": None, "version": None}),
     ("run.pause", {"run": ["r1"]}), ("train", {"path": "/nowhere/at/all"}), ("eval.run", {"model": "main", "version": 1, "against": 7})],
)  # fmt: skip
def test_nonsense_is_answered_and_ends_nothing(three: Any, ask: Any, kind: str, fields: dict[str, Any]) -> None:
    assert ask(kind, **fields)["error"]["what"]
    assert pending_intents(three.workspace.intents) == []


def test_a_file_that_is_no_intent_is_put_aside(three: Any, ask: Any) -> None:
    (three.workspace.intents / "0-bad.intent.json").write_bytes(b"{")
    (three.workspace.intents / "1-bad.intent.json").write_bytes(b"[]")
    assert ask("queue.pause", job=None)["error"] is None


def test_a_running_run_is_asked_and_one_between_attempts_is_paused_at_once(three: Any, ask: Any) -> None:
    with three.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="running")
    ask("run.pause", run="r1")
    assert three.run("r1") == "paused"
    ask("run.resume", run="r1")
    assert three.run("r1") == "running"
    ask("run.stop", run="r1")
    assert three.run("r1") == "stopped"
    assert ask("run.stop", run="r1")["error"]["exit_code"] == 4
    assert ask("run.pause", run="r2")["error"]["remedy"] == "stoker queue pause j2"


def test_down_is_passed_on(three: Any, ask: Any) -> None:
    ask("down")
    assert ask.ended == [True]


def test_a_file_named_on_the_command_line_goes_to_the_head_and_stays_where_it_is(three: Any, ask: Any) -> None:
    path = three.workspace.root / "mine.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\n')
    taken = ask("train", path=str(path))["result"]
    assert taken["is_new"] and path.exists()
    assert three.value(t.datasets, taken["dataset"], "priority") == queue.TOP_PRIORITY
    assert not ask("train", path=str(path))["result"]["is_new"]
