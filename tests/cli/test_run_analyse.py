"""`stoker run analyse`: words, JSON and a page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.mailbox.journal import JournalWriter
from stoker.mailbox.messages import MESSAGES
from stoker.store.store import Store
from stoker.supervisor import measured
from stoker.workspace import Workspace

Stoker = Callable[..., Any]


@pytest.fixture
def long_run(history: Workspace) -> Workspace:
    """The lab's first run goes on to step 300 and overfits."""
    store = Store(history.store)
    store.claim()
    with store.transaction() as transaction:
        steps = [
            {"kind": "step", "step": step, "loss": 4 * math.exp(-step / 80), "tokens": 1000} for step in range(4, 301)
        ]
        measured.enter(transaction, "r1", [{**step, "learning_rate": 1e-3} for step in steps])
    store.close()
    journal = JournalWriter(history.run("r1") / MESSAGES)
    for step in range(30, 301, 30):
        journal.append({"kind": "evaluation", "step": step, "heldout_loss": 2 + abs(step - 90) / 300})
    journal.close()
    return history


def test_a_run_is_told_in_words_and_in_json(stoker: Stoker, long_run: Workspace) -> None:
    answer = stoker("run", "analyse", "r1")
    assert answer.code == 0 and answer.out.startswith("Overfitted") and "step 90" in answer.out
    found = stoker("run", "analyse", "r1", "--json").json()
    assert (found["run"], found["state"], found["best_step"], found["html"]) == ("r1", "overfitted", 90, None)
    assert found["advice"] and {"code", "text"} == found["statements"][0].keys()


def test_the_page_has_the_curves_and_loads_nothing(stoker: Stoker, long_run: Workspace, tmp_path: Path) -> None:
    page = tmp_path / "curve.html"
    assert stoker("run", "analyse", "r1", "--html", str(page)).code == 0
    html = page.read_text("utf-8")
    assert "<polyline" in html and "held-out" in html and "Overfitted" in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert "http://" not in html and "https://" not in html and "<script" not in html


def test_a_page_that_exists_is_not_overwritten(stoker: Stoker, long_run: Workspace, tmp_path: Path) -> None:
    page = tmp_path / "curve.html"
    page.write_text("mine")
    answer = stoker("run", "analyse", "r1", "--html", str(page))
    assert answer.code != 0 and "exists" in answer.err and page.read_text() == "mine"
    assert "no folder" in stoker("run", "analyse", "r1", "--html", str(tmp_path / "no" / "c.html")).err


def test_a_run_without_steps_says_so(stoker: Stoker, history: Workspace) -> None:
    answer = stoker("run", "analyse", "r2")
    assert answer.code == 3 and "no step yet" in answer.err
    assert "too few" in stoker("run", "analyse", "r1").out
