"""`stoker run samples`: answers to the same rows over a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert

from stoker.store import tables as t
from stoker.store.store import Store
from stoker.workspace import Workspace

Stoker = Callable[..., Any]
MARKS = {1: "nyy", 2: "nyn"}


@pytest.fixture
def sampled(history: Workspace) -> Workspace:
    store = Store(history.store, now=lambda: 1_700_000_000.0)
    store.claim()
    with store.transaction() as transaction:
        for probe, marks in MARKS.items():
            for place, mark in enumerate(marks, 1):
                transaction.execute(
                    insert(t.samples).values(
                        run="r1", step=10 * place, probe=probe, prompt=f"question\n{probe}", expected="yes \x1b[31m",
                        answer=f"answer {place}", is_match=mark == "y", nll=1.0 / place, time=0.0,
                    )
                )  # fmt: skip
        silent = {"run": "r1", "step": 40, "probe": 1, "prompt": "question\n1", "expected": "yes \x1b[31m", "nll": 0.1}
        transaction.execute(insert(t.samples).values(**silent, answer=None, is_match=None, time=0.0))
    store.close()
    return history


def test_each_probe_shows_when_it_was_learned_and_forgotten(stoker: Stoker, sampled: Workspace) -> None:
    found = stoker("run", "samples", "r1", "--json").json()
    assert found["run"] == "r1"
    assert [(one["probe"], one["learned_at"], one["forgot_at"]) for one in found["probes"]] == [
        (1, 20, None),
        (2, 20, 30),
    ]
    first = found["probes"][0]
    assert first["prompt"] == "question\n1" and len(first["samples"]) == 4
    assert first["samples"][0] == {"step": 10, "answer": "answer 1", "is_match": False, "nll": 1.0, "time": 0.0}
    text = stoker("run", "samples", "r1").out
    assert "0.1000" in text and "answer 3" in text and "learned at" in text and "\x1b" not in text


def test_one_probe_shows_its_answers_over_the_steps(stoker: Stoker, sampled: Workspace) -> None:
    text = stoker("run", "samples", "r1", "--probe", "2").out
    assert [f"answer {place}" in text for place in (1, 2, 3)] == [True] * 3 and "step 30" in text
    assert len(stoker("run", "samples", "r1", "--probe", "2", "--json").json()["probes"]) == 1


def test_one_step_shows_every_probe_then(stoker: Stoker, sampled: Workspace) -> None:
    found = stoker("run", "samples", "r1", "--step", "20", "--json").json()["probes"]
    assert [[sample["step"] for sample in one["samples"]] for one in found] == [[20], [20]]
    assert found[1]["forgot_at"] == 30


@pytest.mark.parametrize(("option", "there_are"), [("--step", "steps 10, 20, 30, 40"), ("--probe", "probes 1, 2")])
def test_what_is_not_there_is_named(stoker: Stoker, sampled: Workspace, option: str, there_are: str) -> None:
    answer = stoker("run", "samples", "r1", option, "77")
    assert answer.code == 3 and there_are in answer.err


def test_a_run_without_samples_says_why_there_may_be_none(stoker: Stoker, history: Workspace) -> None:
    answer = stoker("run", "samples", "r1")
    assert (answer.code, answer.out) == (0, "") and "nothing is held out" in answer.err
    assert stoker("run", "samples", "r1", "--json").json() == {"run": "r1", "probes": []}
