"""When runs and the queue will be done: from own steps, from past runs on the same hardware, from the size of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from stoker.mailbox.journal import JournalWriter
from stoker.mailbox.messages import MESSAGES
from stoker.mailbox.paces import run_pace
from stoker.store import tables as t
from stoker.store.store import Store
from stoker.supervisor import measured
from stoker.workspace import Workspace

Stoker = Callable[..., Any]


def tell(lab: Workspace, run: str, steps: int, *, total: int, device: str = "cpu", seconds: float = 0.5) -> None:
    """Write a run's folder as a worker leaves it after so many steps of 1,000 tokens."""
    folder = lab.run(run)
    folder.mkdir(parents=True)
    (folder / "job.json").write_bytes(orjson.dumps({"base": {"name": "tiny"}}))
    journal = JournalWriter(folder / MESSAGES)
    journal.append({"kind": "started", "device": device, "threads": 2})
    journal.append({"kind": "plan", "total_steps": total, "tokens": 1000 * total, "method": "full"})
    for step in range(1, steps + 1):
        journal.append({"kind": "step", "step": step, "tokens": 1000, "seconds": seconds})
    journal.close()


def change(lab: Workspace, run: str, **fields: object) -> None:
    store = Store(lab.store)
    store.claim()
    with store.transaction() as transaction:
        transaction.execute(update(t.runs).where(t.runs.c.id == run).values(**fields))
    store.close()


def test_a_file_that_waits_is_judged_by_its_size_against_past_files(stoker: Stoker, history: Workspace) -> None:
    (job,) = stoker("queue", "list", "--json").json()
    assert job["eta"] is None, "no past run has a folder"
    tell(history, "r1", 100, total=100)
    (job,) = stoker("queue", "list", "--json").json()
    assert job["eta"]["seconds"] == pytest.approx(25), "half of 2,048 bytes, which took 50 s"
    assert job["eta"]["low"] < 25 < job["eta"]["high"]
    assert "judged in" in stoker("queue", "list").out
    assert stoker("status", "--json").json()["queue_eta"] == job["eta"]


def test_a_run_that_has_only_a_plan_is_judged_by_past_runs_on_the_same_hardware(
    stoker: Stoker, history: Workspace
) -> None:
    tell(history, "r1", 100, total=100)
    tell(history, "r2", 0, total=400)
    change(history, "r2", state="running", total_steps=400, model="main", version=2)
    shown = stoker("run", "show", "r2", "--json").json()
    assert shown["eta"]["seconds"] == pytest.approx(200)
    (history.run("r2") / MESSAGES).unlink()
    (history.run("r2") / "job.json").unlink()
    history.run("r2").rmdir()
    tell(history, "r2", 0, total=400, device="cuda")
    assert stoker("run", "show", "r2", "--json").json()["eta"] is None, "another device says nothing about this one"


def test_a_run_under_way_is_judged_by_its_own_steps_and_shown_with_its_interval(
    stoker: Stoker, history: Workspace
) -> None:
    tell(history, "r2", 20, total=120, seconds=2.0)
    change(history, "r2", state="paused", total_steps=120, step=20, model="main", version=2)
    store = Store(history.store)
    store.claim()
    with store.transaction() as transaction:
        steps = [{"kind": "step", "step": step, "loss": 1.0, "tokens": 1000, "seconds": 2.0} for step in range(1, 21)]
        measured.enter(transaction, "r2", steps)
    store.close()
    eta = stoker("run", "show", "r2", "--json").json()["eta"]
    assert eta["low"] < eta["seconds"] == 200 < eta["high"]
    assert " to " in next(line for line in stoker("run", "show", "r2").out.splitlines() if "ETA" in line)
    assert stoker("run", "show", "r1", "--json").json()["eta"] is None, "it is over"


def test_a_pace_is_read_from_both_ends_of_a_long_run(history: Workspace) -> None:
    tell(history, "r9", 5000, total=6000, seconds=0.25)
    pace = run_pace(history.run("r9"))
    assert pace is not None and pace.kind == ("cpu, 2 threads", "tiny", "full")
    assert (pace.tokens, pace.total_steps) == (6_000_000, 6000)
    assert pace.tokens_per_second == pytest.approx(4000) and pace.train_seconds == pytest.approx(1500)
    assert run_pace(history.run("r10")) is None


def test_a_queue_of_which_nothing_goes_on_by_itself_has_no_forecast(stoker: Stoker, history: Workspace) -> None:
    tell(history, "r1", 100, total=100)
    assert stoker("status", "--json").json()["queue_eta"] is not None
    change(history, "r2", state="parked", reason="it crashed")
    assert stoker("status", "--json").json()["queue_eta"] is None
    assert "all done" not in stoker("status").out


def test_report_queue_and_status_give_one_number(stoker: Stoker, history: Workspace) -> None:
    tell(history, "r1", 100, total=100)
    report = stoker("report", "now", "--hours", "1", "--json").json()
    (job,) = stoker("queue", "list", "--json").json()
    assert report["queue_eta"] == stoker("status", "--json").json()["queue_eta"] == job["eta"]
    assert [one["eta"] for one in report["queue"]] == [job["eta"]]
