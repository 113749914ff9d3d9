"""`stoker train --compare` and `stoker eval compare`: what is refused, and what a comparison looks like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from sqlalchemy import insert

from stoker.store import tables as t
from stoker.store.store import Store
from stoker.workspace import Workspace

Stoker = Callable[..., Any]


@pytest.fixture
def compared(history: Workspace) -> Workspace:
    """A lab with a comparison that is done and one that failed."""
    store = Store(history.store, now=lambda: 1.0)
    store.claim()
    with store.transaction() as tx:
        trial = {"model": "main", "parent": 1, "settings": {}, "created": 1.0, "priority": 0}
        datasets = ["d0123456789ab", "d0a"]
        done = {"id": "t1", "number": 1, "intent": "i1", "datasets": datasets, "state": "done", "evaluation": "e2"}
        failed = {"id": "t2", "number": 2, "intent": "i2", "datasets": datasets, "state": "failed", "reason": "no rows"}
        tx.execute(insert(t.trials).values(**trial, **done))
        tx.execute(insert(t.trials).values(**trial, **failed))
        for number, dataset in enumerate(datasets, start=3):
            job = {"id": f"j{number}", "number": number, "dataset": dataset, "position": number, "trial": "t1"}
            tx.execute(insert(t.jobs).values(**job, created=1.0))
            run = {"id": f"r{number}", "number": number, "job": f"j{number}", "dataset": dataset, "state": "done"}
            tx.execute(insert(t.runs).values(**run, model="main", version=number, created=1.0))
    store.close()
    score = {"benchmark": "heldout", "metric": "nll", "n": 20, "low": 1.1, "high": 1.5}
    pair = {
        "candidate": "main/v3", "against": "main/v4", "benchmark": "heldout", "metric": "nll", "n": 20,
        "candidate_score": 1.25, "against_score": 1.5, "difference": -0.25, "low": -0.3, "high": -0.1, "p_value": 0.02,
        "p_value_corrected": 0.024, "outcome": "better", "minimum_detectable_effect": 0.1, "is_primary": True,
    }  # fmt: skip
    result = {
        "intervals": [{**score, "model": model, "score": mean} for model, mean in (("main/v3", 1.25), ("base", 4.0))],
        "comparisons": [pair], "verdict": {"reason": "Better on heldout, corrected for 1 pairs: main/v3 over main/v4."},
    }  # fmt: skip
    folder = history.evaluation("e2")
    folder.mkdir(parents=True)
    (folder / "results.json").write_bytes(orjson.dumps(result))
    return history


def test_a_comparison_shows_scores_with_intervals_and_corrected_pairs(compared: Workspace, stoker: Stoker) -> None:
    shown = stoker("eval", "compare", "t1")
    assert shown.code == 0
    for words in ("orders.jsonl", "main/v3", "1.100 to 1.500", "0.024", "better", "stoker model promote"):
        assert words in shown.out, words
    assert "branches of main/v1" in shown.err
    found = stoker("eval", "compare", "t1", "--json").json()
    assert [(one["dataset"], one["run"], one["version"]) for one in found["branches"]] == [
        ("d0123456789ab", "r3", "main/v3"), ("d0a", "r4", "main/v4")
    ]  # fmt: skip
    assert (found["state"], len(found["intervals"]), len(found["comparisons"])) == ("done", 2, 1)
    assert "t1, with d0a" in stoker("data", "show", "d0123").out


def test_a_failed_comparison_says_why_and_ends_with_6(compared: Workspace, stoker: Stoker) -> None:
    failed = stoker("eval", "compare")
    assert failed.code == 6 and "no rows" in failed.err
    assert stoker("eval", "compare", "t9").code == 3
    for option in (("--benchmark", "sums"), ("--html", "page.html"), ("--shots", "2"), ("--stored",)):
        refused = stoker("eval", "compare", "t1", *option)
        assert refused.code == 2 and "are for models" in refused.err


def test_what_can_not_be_compared_is_refused(history: Workspace, stoker: Stoker) -> None:
    assert stoker("train", "--compare", "d0a").code == 2
    assert stoker("train", "--compare", "d0a", "d9").code == 3
    assert stoker("train", "--compare", "d0a", "d0a").code == 2
    assert stoker("train", "--compare", "--together", "d0a", "d0123").code == 2
