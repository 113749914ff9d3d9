"""The malformed corpus through the real intake process, in 512 MB: a clear refusal, or a dataset with its rows conserved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from malformed import MALFORMED
from small_lab import SmallLab

from stoker.errors import WorkerExit
from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.spec.jobs import JOB
from stoker.spec.lab import IntakeSpec

MEGABYTES = 512


def outcome(lab: SmallLab, name: str) -> dict[str, object]:
    """Take a file in by a process of its own; return its last word, with the summary where there is one."""
    lab.intake = IntakeSpec(memory_megabytes=MEGABYTES, allow_unproven=True)
    job, folder = lab.job(MALFORMED[name][0](), name)
    (folder / JOB).write_text(job.model_dump_json())
    with (folder / "log.txt").open("wb") as log:
        subprocess.run([sys.executable, "-m", "stoker.data", str(folder)], stdout=log, stderr=log, check=False)
    found: dict[str, object] = {}
    for message in JournalReader(folder / MESSAGES).read():
        found |= message
    assert found.get("kind") == "finished", f"{name} ({MALFORMED[name][1]}): {(folder / 'log.txt').read_text()[-600:]}"
    return found


def assert_clear(lab: SmallLab, name: str) -> None:
    found = outcome(lab, name)
    if found["exit"] == WorkerExit.DONE:
        summary = found["summary"]
        assert isinstance(summary, dict)
        counts = [summary[state] for state in ("train", "held_out", "duplicate", "quarantined")]
        assert summary["rows_in"] == sum(counts) > 0
        return
    assert found["exit"] == WorkerExit.BAD_CONFIG, (name, found)
    assert found["what"] and found["why"] and found["remedy"], (name, found)
    assert Path(name).name in str(found["file"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every sixth file, or with --corpus each of them."""
    if "name" in metafunc.fixturenames:
        step = 1 if metafunc.config.getoption("--corpus", False) else 6
        metafunc.parametrize("name", sorted(MALFORMED)[::step])


def test_a_malformed_file_ends_with_a_clear_word(lab: SmallLab, name: str) -> None:
    assert_clear(lab, name)


def test_the_corpus_is_large() -> None:
    assert len(MALFORMED) >= 150
