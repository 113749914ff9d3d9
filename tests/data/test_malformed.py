"""The malformed corpus through the real intake process, in 512 MB: a clear refusal, or a dataset with its rows conserved."""

from __future__ import annotations

from pathlib import Path

import pytest
from malformed import BASES, MALFORMED
from measured_intake import MEGABYTES, take_measured
from small_lab import SmallLab

from stoker.errors import WorkerExit

CPU_SECONDS = 10
# What may need more memory than 512 MB; everything else must be told by what is wrong with it.
LARGE = {
    "huge-field.csv",
    "long-string.json",
    "long-line.jsonl",
    "long-line-cut.jsonl",
    "bomb.parquet",
    "message-length.arrow",
}


@pytest.mark.parametrize("name", BASES)
def test_a_file_that_is_whole_is_taken_in_that_memory(lab: SmallLab, name: str) -> None:
    found = take_measured(lab, BASES[name](), name)
    assert found.summary is not None and found.summary["rows_in"] == 60, found.last


def assert_clear(lab: SmallLab, name: str) -> None:
    found = take_measured(lab, MALFORMED[name][0](), name)
    assert found.last.get("kind") == "finished", f"{name} ({MALFORMED[name][1]}): {found.log}"
    assert found.cpu_seconds < CPU_SECONDS and found.memory_megabytes < MEGABYTES, name
    if found.last["exit"] == WorkerExit.DONE:
        assert found.summary is not None
        counts = [found.summary[state] for state in ("train", "held_out", "duplicate", "quarantined")]
        assert found.summary["rows_in"] == sum(counts) > 0
        return
    assert found.last["exit"] == WorkerExit.BAD_CONFIG, (name, found)
    assert found.last["what"] and found.last["why"] and found.last["remedy"], (name, found)
    assert Path(name).name in str(found.last["file"])
    assert name in LARGE or "needs more memory" not in found.last["what"], (name, found.last)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every sixth file, or with --corpus each of them."""
    if metafunc.function is test_a_malformed_file_ends_with_a_clear_word:
        step = 1 if metafunc.config.getoption("--corpus", False) else 6
        metafunc.parametrize("name", sorted(MALFORMED)[::step])


def test_a_malformed_file_ends_with_a_clear_word(lab: SmallLab, name: str) -> None:
    assert_clear(lab, name)


def test_the_corpus_is_large() -> None:
    assert len(MALFORMED) >= 150
