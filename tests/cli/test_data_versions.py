"""`stoker data versions` and `rollback`, and `stoker add --replaces`, in a lab whose supervisor takes files in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.mailbox.intents import pending_intents
from stoker.spec.reading import read_settings
from stoker.supervisor import holding
from stoker.supervisor.context import Context
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intake import Intake
from stoker.supervisor.intents import Intents
from stoker.workspace import Workspace

Stoker = Callable[..., Any]


def rows(*numbers: int, answer: str = "It is") -> bytes:
    made = ({"prompt": f"What is {n * 31} and {n * 7}?", "answer": f"{answer} {n * 38} of {n}."} for n in numbers)
    return b"".join(orjson.dumps(row) + b"\n" for row in made)


def work(workspace: Workspace) -> None:
    """Do what a supervisor does but for training: carry out intents, take files, read them."""
    with holding.hold(workspace) as store:
        context = Context(workspace, read_settings(workspace.settings), store)
        inbox, intake = Inbox(context), Intake(context)
        Intents(context, inbox, lambda: None).tick()
        for path in sorted(workspace.inbox.iterdir()):
            inbox.take(path)
        while intake.tick() or intake.is_reading:
            pass


@pytest.fixture
def two(lab: Workspace, stoker: Stoker, tmp_path: Path) -> Workspace:
    """A lab with a file and the one that was declared to replace it; nothing is trained."""
    first, second = tmp_path / "orders.jsonl", tmp_path / "mended.jsonl"
    first.write_bytes(rows(*range(100)))
    second.write_bytes(rows(*range(10, 100)) + rows(5, answer="Now it is") + rows(*range(200, 203)))
    stoker("add", str(first))
    work(lab)
    assert stoker("add", str(second), "--replaces", "@latest").code == 0
    assert len(pending_intents(lab.intents)) == 1
    work(lab)
    return lab


def test_versions_say_what_changed_and_which_is_current(two: Workspace, stoker: Stoker) -> None:
    (family,) = stoker("data", "versions", "--json").json()
    first, second = family["versions"]
    assert [one["relation"] for one in (first, second)] == ["first", "replaces"]
    assert [one["standing"] for one in (first, second)] == ["replaced", "in-force"]
    assert family["current"] == second["dataset"]
    assert first["changes"] is None and second["changes"] == {"added": 3, "removed": 9, "changed": 1}
    for what in ("orders.jsonl", "mended.jsonl", first["dataset"], "@latest"):
        assert stoker("data", "versions", what, "--json").json() == [family]
    shown = stoker("data", "versions").out
    assert "current" in shown and "replaced" in shown
    assert stoker("data", "versions", "nothing.jsonl").code == 3
    assert "replaced" in stoker("data", "list").out


def test_a_rollback_is_shown_first_and_needs_a_supervisor(two: Workspace, stoker: Stoker) -> None:
    first, second = (one["dataset"] for one in stoker("data", "versions", "--json").json()[0]["versions"])
    plan = stoker("data", "rollback", first, "--dry-run", "--json").json()
    assert plan["rolled_back"] == [second] and plan["stopped"] == ["j2"]
    said = stoker("data", "rollback", first, "--dry-run").out
    assert "no longer train" in said and "j2 is taken out of the queue" in said
    assert stoker("data", "rollback", first).code == 4
    assert stoker("data", "rollback", first, "--yes").code == 7
    assert stoker("data", "rollback", second, "--dry-run").code == 4
    assert stoker("data", "rollback", "d9", "--dry-run").code == 3


def test_a_file_of_the_same_name_is_a_further_version(two: Workspace, stoker: Stoker, tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_bytes(rows(*range(300, 360)))
    stoker("add", str(tmp_path / "orders.jsonl"))
    work(two)
    (family,) = stoker("data", "versions", "orders.jsonl", "--json").json()
    assert [one["relation"] for one in family["versions"]] == ["first", "replaces", "extends"]
    assert [one["standing"] for one in family["versions"]] == ["replaced", "in-force", "in-force"]


def test_a_replacement_that_is_a_part_of_the_old_file_takes_its_place_though_nothing_of_it_trains(
    lab: Workspace, stoker: Stoker, tmp_path: Path
) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    whole.write_bytes(rows(*range(100)))
    part.write_bytes(rows(*range(60)))
    stoker("add", str(whole))
    work(lab)
    stoker("add", str(part), "--replaces", "@latest")
    work(lab)
    (family,) = stoker("data", "versions", "part.jsonl", "--json").json()
    assert [(one["state"], one["standing"]) for one in family["versions"]] == [
        ("ready", "replaced"),
        ("empty", "in-force"),
    ]
    assert family["versions"][1]["changes"] == {"added": 0, "removed": 40, "changed": 0}


def test_a_file_can_only_replace_a_dataset_that_is_there(lab: Workspace, stoker: Stoker, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(rows(*range(60)))
    one, other = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    assert stoker("add", one, "--replaces", "d9").code == 3
    assert stoker("add", one, other, "--replaces", "d9").code == 2
    assert list(lab.inbox.iterdir()) == []
