"""The watch screen: everything that is there, at any size, nobody's escape codes."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from stoker.analysis.eta import Eta
from stoker.cli.pace import Pace
from stoker.cli.watch_screen import Seen, screen
from stoker.cli.watching import look
from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.store.series import put_points
from stoker.store.store import Store


def seen(**more: Any) -> Seen:
    curve = {"num_points": 300, "at": list(range(300)), "value": [3 / (1 + at / 50) for at in range(300)]}
    given: dict[str, Any] = {
        "detail": {
            "id": "r1", "model": "main", "version": 1, "state": "running", "phase": "train", "reason": None, "step": 299,
            "total_steps": 1000,
        },
        "last": {"step": 299, "loss": 0.43, "learning_rate": 2e-4, "grad_norm": 0.7, "epoch": 0.3},
        "pace": Pace(5120.0, 41.0, Eta(42.0, 38.0, 51.0)),
        "curves": {"loss": curve, "grad_norm": curve, "learning_rate": curve},
        "machine": {"now": {"time": None}, "facts": {}},
        "samples": [],
        "changes": [],
        "events": [],
    }  # fmt: skip
    return Seen(**given | more)


def drawn(of: Seen, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(screen(of, width, height), end="")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n").split("\n")


SAMPLE = {"prompt": "What is\n2 + 2?", "expected": "4", "answer": "4", "is_match": True, "nll": 0.1}
CHANGE = {"name": "lr", "old": 2e-4, "new": 1e-4, "state": "applied", "step": 120, "reason": None}
EVENT = {"time": 0.0, "severity": "warn", "text": "a spike \x1b[31m"}
FACTS = {"cores": 8, "ram_total": 16 * 10**9, "gpus": [{"name": "H200", "memory": 150 * 10**9}], "reason": None}
FULL = {
    "samples": [SAMPLE] * 8,
    "changes": [CHANGE] * 3,
    "events": [EVENT] * 8,
    "machine": {"now": {"time": 1, "cpu": 50.0, "ram": 1e9, "gpu0.utilisation": 87.0}, "facts": FACTS},
}


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50), (60, 15), (40, 10), (250, 80)])
@pytest.mark.parametrize("more", [{}, FULL])
def test_the_picture_fits_the_terminal_whatever_there_is(width: int, height: int, more: dict[str, Any]) -> None:
    lines = drawn(seen(**more), width, height)
    assert len(lines) <= height and all(len(line) <= width for line in lines)
    assert "r1" in lines[0] and "running" in lines[0]


def test_it_shows_progress_eta_with_its_interval_curve_machine_samples_changes_and_events() -> None:
    page = "\n".join(drawn(seen(**FULL), 120, 50))
    for words in (
        "step 299 of 1,000", "ETA 42 s (38 s to 51 s)", "loss 0.4300", "trend", "5,120 tokens/s, 41 examples/s", "H200: 87 %",
        "CPU 50 % of 8 cores", "What is 2 + 2? → 4  (expected 4)  0.10 nats", "lr 0.0002 → 0.0001, applied at step 120",
        "gradient norm 0.7 before clipping",
    ):  # fmt: skip
        assert words in page, words
    assert "\x1b" not in page and "<U+001B>" in page
    assert sum("a spike" in line for line in page.split("\n")) >= 4


def test_held_out_losses_are_a_curve_of_their_own() -> None:
    curve = {"num_points": 2, "at": [100, 200], "value": [1.5, 1.25]}
    assert "held-out 1.2500 at step 200" in "\n".join(
        drawn(seen(curves={**seen().curves, "heldout_loss": curve}), 80, 24)
    )


def test_a_run_without_a_step_says_so() -> None:
    detail = {**seen().detail, "step": 0, "total_steps": None, "phase": "tokenize"}
    page = "\n".join(drawn(seen(detail=detail, curves={}, last={}, pace=Pace(None, None, None)), 80, 24))
    assert "no step yet" in page and "(tokenize)" in page


def test_what_the_store_holds_of_a_run_is_what_is_drawn(history: Any) -> None:
    store = Store(history.store)
    store.claim()
    with store.transaction() as tx:
        put_points(tx, "r1", [("heldout_loss", 3, 0.75)])
        for step in (1, 3):
            row = {"prompt": "p", "expected": "e", "answer": f"at {step}", "is_match": False, "nll": 1.0, "time": 0.0}
            tx.execute(t.samples.insert().values(run="r1", step=step, probe=1, **row))
        change = {"request": "q1", "name": "lr", "old": 1, "new": 2, "state": "requested", "asked_at": 0.0}
        tx.execute(t.changes.insert().values(run="r1", **change))
    store.close()
    found = look(Reader(history), "r1")
    assert (found.last["step"], found.curves["heldout_loss"]["value"]) == (3, [0.75])
    assert [sample["answer"] for sample in found.samples] == ["at 3"] and found.changes[0]["name"] == "lr"
    page = "\n".join(drawn(found, 100, 40))
    assert "at 3" in page and "lr 1 → 2, requested" in page and "is the champion" in page
