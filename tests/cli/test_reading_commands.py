"""Commands that read: they need no supervisor, their JSON fields are an interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stoker.store.series import put_points
from stoker.store.store import Store
from stoker.workspace import Workspace

Stoker = Callable[..., Any]

FIELDS = {
    ("data", "list"): {
        "id", "name", "state", "format", "rows_in", "train", "held_out", "duplicate", "quarantined",
    },
    ("run", "list"): {"id", "state", "model", "version", "dataset", "step", "total_steps", "loss"},
    ("model", "list"): {"model", "version", "parent", "run", "champion", "weights_sha256"},
    ("eval", "list"): {
        "candidate", "against", "benchmark", "metric", "n", "candidate_score", "against_score", "difference", "low",
        "high", "p_value", "outcome",
    },
    ("queue", "list"): {"id", "state", "priority", "dataset", "name", "run"},
}  # fmt: skip


@pytest.mark.parametrize("command", FIELDS, ids=" ".join)
def test_each_list_has_its_fields(stoker: Stoker, history: Workspace, command: tuple[str, str]) -> None:
    answer = stoker(*command, "--json")
    assert answer.code == 0
    assert answer.json()
    for row in answer.json():
        assert FIELDS[command] <= row.keys()


@pytest.mark.parametrize("command", FIELDS, ids=" ".join)
def test_each_list_of_a_new_lab_is_empty_and_says_what_to_do(
    stoker: Stoker, lab: Workspace, command: tuple[str, str]
) -> None:
    assert stoker(*command, "--json").json() == []
    answer = stoker(*command)
    assert (answer.code, answer.out) == (0, "")
    assert "stoker " in answer.err


def test_status_has_its_fields(stoker: Stoker, history: Workspace) -> None:
    now = stoker("status", "--json").json()
    assert now["state"] == "off"
    assert {"run", "worker_pid", "queue"} <= now.keys()
    assert [job["id"] for job in now["queue"]] == ["j2"]
    text = stoker("status")
    assert "main/v1" in text.out
    assert "stoker up" in text.err


def test_a_dataset_shows_where_every_row_went(stoker: Stoker, history: Workspace) -> None:
    shown = stoker("data", "show", "d0123", "--json").json()
    assert shown["rows_in"] == shown["train"] + shown["held_out"] + shown["duplicate"] + shown["quarantined"] == 100
    assert shown["reasons"] == {"no-answer": 1}
    text = stoker("data", "show", "d0123").out
    assert "100 in = 80 train + 15 held out + 4 duplicate + 1 quarantined" in text
    assert "no answer" in text


def test_a_run_shows_its_state_and_loss(stoker: Stoker, history: Workspace) -> None:
    assert stoker("run", "show", "r1", "--json").json()["state"] == "done"
    text = stoker("run", "show", "r1").out
    assert "main/v1" in text
    assert "2,000 tokens/s" in text


def test_the_story_of_a_long_night_has_its_beginning_or_says_that_it_is_cut(stoker: Stoker, history: Workspace) -> None:
    store = Store(history.store, now=lambda: 1_700_000_000.0)
    store.claim()

    def happen(first: int, last: int) -> None:
        with store.transaction() as transaction:
            for number in range(first, last):
                transaction.event("warn", "run.crashed", f"crash number {number}.", run="r1")

    happen(0, 100)
    answer = stoker("run", "show", "r1")
    assert "crash number 0." in answer.out and "crash number 99." in answer.out and "left out" not in answer.err
    happen(100, 300)
    store.close()
    answer = stoker("run", "show", "r1")
    assert "crash number 0." not in answer.out and "crash number 299." in answer.out
    assert "101 earlier events are left out" in answer.err


def test_a_loss_that_was_refused_as_a_spike_does_not_flatten_the_curve(stoker: Stoker, history: Workspace) -> None:
    def curve() -> str:
        return next(line for line in stoker("run", "show", "r1").out.splitlines() if line.startswith("loss")).split()[
            -1
        ]

    before = curve()
    store = Store(history.store, now=lambda: 1_700_000_000.0)
    store.claim()
    with store.transaction() as transaction:
        put_points(transaction, "r1", [("loss", 4, 400.0)])
    flat = curve()
    with store.transaction() as transaction:
        transaction.event("warn", "step.refused", "r1 step 4 was not applied: a spike", run="r1", step=4)
    store.close()
    assert flat != before == curve()


def test_a_version_shows_its_verdict_with_the_interval(stoker: Stoker, history: Workspace) -> None:
    text = stoker("model", "show").out
    assert "Promoted main/v1." in text
    assert "-3.000 to -2.200" in text
    assert "better" in text


def test_watching_a_run_that_is_over_shows_it_and_ends(stoker: Stoker, history: Workspace) -> None:
    answer = stoker("run", "watch", "r1")
    assert answer.code == 0
    assert "step 3/3" in answer.out


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("data", "show", "dxyz"), 3, "no dataset"),
        (("data", "show", "d0"), 2, "d0a"),
        (("run", "show", "r9"), 3, "no run"),
        (("model", "show", "main/v7"), 3, "main/v7"),
        (("eval", "list", "e4"), 3, "no evaluation"),
        (("nonsense",), 2, "no such command"),
        (("data", "show"), 2, "missing argument"),
        (("data", "list", "--wrong"), 2, "--wrong"),
    ],
)
def test_what_is_not_there_is_said_with_its_exit_code(
    stoker: Stoker, history: Workspace, args: tuple[str, ...], code: int, words: str
) -> None:
    answer = stoker(*args)
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert words in answer.err


@pytest.mark.parametrize(
    "args",
    [
        ("queue", "pause"),
        ("queue", "move", "j2", "--to", "first"),
        ("queue", "remove", "j2", "--yes"),
        ("queue", "retry", "j2"),
        ("run", "pause", "r1"),
        ("run", "stop", "r1"),
        ("model", "promote", "main/v1"),
        ("model", "rollback", "--yes"),
        ("model", "pin", "main/v1"),
        ("eval", "run", "main/v1"),
        ("down",),
    ],
    ids=" ".join,
)
def test_a_change_without_a_supervisor_says_how_to_start_one(
    stoker: Stoker, history: Workspace, args: tuple[str, ...]
) -> None:
    answer = stoker(*args)
    assert answer.code == 7
    assert "stoker up" in answer.err


def test_losing_something_needs_a_yes(stoker: Stoker, history: Workspace) -> None:
    answer = stoker("model", "delete", "main/v1")
    assert answer.code == 4
    assert "--yes" in answer.err


def test_no_command_works_outside_a_lab(stoker: Stoker, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = stoker("status")
    assert answer.code == 3
    assert "stoker init" in answer.err


def test_the_lab_can_be_named(
    stoker: Stoker, history: Workspace, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert stoker("--lab", str(history.root), "run", "list", "--json").json()
    monkeypatch.setenv("STOKER_LAB", str(history.root))
    assert stoker("run", "list", "--json").json()
