"""RELIABILITY.md is what the recorded results say, and the results are of the faults in the table."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

CHAOS = Path(__file__).resolve().parents[1] / "chaos"


@pytest.fixture(autouse=True)
def _chaos_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(CHAOS), *sys.path])


def test_the_page_is_generated_from_the_results() -> None:
    from reliability import PAGE, RESULTS, page

    assert PAGE.read_text("utf-8") == page(orjson.loads(RESULTS.read_bytes())), "run: python tests/chaos/reliability.py"


def test_every_result_is_of_a_fault_in_the_table() -> None:
    from faults import FAULTS
    from reliability import RESULTS

    assert {*orjson.loads(RESULTS.read_bytes())["faults"]} <= {fault.name for fault in FAULTS}


def test_a_fault_that_was_not_recovered_stands_out() -> None:
    from reliability import page

    one = {"is_recovered": False, "seconds": 1.0, "events": ["hang"], "is_exact": False, "heldout_difference": 0.03,
           "date": "2026-01-01", "machine": "m"}  # fmt: skip
    text = page({"faults": {"a fault": one, "another": {**one, "is_recovered": True, "is_exact": True}}})
    assert "**1 of 2 faults recovered" in text and "| a fault | **no** | held-out loss +3.00% | `hang` |" in text
    assert "| another | yes | same |" in text


def test_changes_that_replay_to_other_losses_stand_out() -> None:
    from reliability import page

    one = {"num_changes": 3, "num_names": 3, "num_resumes": 2, "num_steps": 1200, "num_in_time": 2, "median_steps": 4,
           "most_steps": 9, "median_seconds": 0.5, "most_seconds": 6.1, "is_same": False, "date": "2026-01-01", "machine": "m"}  # fmt: skip
    text = page({"changes": one})
    assert "**other losses**" in text and "| seconds | 0.5 | 6.1 |" in text and "2 of 3 took effect" in text
    assert "**other losses**" not in page({"changes": {**one, "is_same": True}})
