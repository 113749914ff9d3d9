"""A real `stoker up` and an inbox with good files beside malformed ones and bombs, in 512 MB: the good train, the bad are told.

Every sixth malformed file and some bombs; with --corpus all of them. The last file hides test rows of the first.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
from malformed import MALFORMED

from stoker.data.dataset import Dataset
from stoker.durable import sha256_file
from stoker.store.reader import Reader
from stoker.workspace import Workspace

pytestmark = pytest.mark.slow

SETTINGS = """
[intake]
settle_seconds = 0.1
memory_megabytes = 512
[train]
threads = 1
batch_tokens = 512
[evaluate]
heldout_answers = 2
max_new_tokens = 4
resamples = 200
[worker]
other_nice = 0
"""
BOMBS = ("bomb.gz", "bomb.zip", "bomb.parquet", "deep-100000.jsonl", "long-line.jsonl", "lying.zip")
ENDED = ("rejected", "trained", "empty", "kept", "waiting")


@dataclass
class Gate:
    workspace: Workspace
    supervisor: subprocess.Popen[bytes]
    bad: dict[str, Path] = field(default_factory=dict)  # copies, since the inbox is emptied

    def datasets(self) -> dict[str, dict[str, Any]]:
        return {found["id"]: found for found in Reader(self.workspace).datasets()}

    def until_ended(self, num_files: int) -> None:
        """Wait until the inbox is empty and every dataset has come to its end."""
        deadline = time.monotonic() + 60 + 15 * num_files
        while time.monotonic() < deadline:
            assert self.supervisor.poll() is None, "the supervisor is gone"
            is_empty = not any(path.is_file() for path in self.workspace.inbox.rglob("*"))
            if is_empty and all(found["state"] in ENDED for found in self.datasets().values()):
                return
            time.sleep(0.2)
        states = {found["name"]: found["state"] for found in self.datasets().values()}
        raise AssertionError(f"not at its end: {states}")


def rows(seed: int, num: int = 60) -> list[dict[str, str]]:
    draw = random.Random(seed)
    words = [f"{a}{b}{c}{d}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst" for d in "aeiou"]
    return [
        {
            "prompt": " ".join(draw.sample(words, 6)).capitalize() + "?",
            "completion": " ".join(draw.sample(words, 3)) + ".",
        }
        for _ in range(num)
    ]


def write(path: Path, records: list[dict[str, str]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Gate]:
    """A lab that has been given everything but the last file."""
    root = tmp_path_factory.mktemp("gate")
    workspace = Workspace(root / "lab")
    workspace.create()
    workspace.settings.write_text(SETTINGS)
    with (root / "up.log").open("wb") as log:
        program = [sys.executable, "-m", "stoker", "--lab", str(workspace.root), "up"]
        made = Gate(workspace, subprocess.Popen(program, stdout=log, stderr=log))
    try:
        names = sorted(MALFORMED)
        if not request.config.getoption("--corpus", False):
            names = sorted({*names[::16], *BOMBS})
        for number, name in enumerate(["good-0.jsonl", *names, "good-1.jsonl"]):
            if name.startswith("good"):
                write(workspace.inbox / name, rows(number))
                continue
            made.bad[name] = root / name
            made.bad[name].write_bytes(MALFORMED[name][0]())
            (workspace.inbox / name).write_bytes(made.bad[name].read_bytes())
        while not workspace.store.exists():
            time.sleep(0.05)
        made.until_ended(len(names))
        yield made
    finally:
        made.supervisor.terminate()
        made.supervisor.wait(60)


def test_the_good_files_beside_them_are_trained(gate: Gate) -> None:
    good = {found["name"]: found for found in gate.datasets().values() if found["name"].startswith("good")}
    assert {name: (found["state"], found["rows_in"]) for name, found in good.items()} == {
        "good-0.jsonl": ("trained", 60), "good-1.jsonl": ("trained", 60),
    }  # fmt: skip
    runs = [run for run in Reader(gate.workspace).runs() if run["dataset"] in {found["id"] for found in good.values()}]
    assert [run["state"] for run in runs] == ["done", "done"]


def test_every_bad_file_is_refused_with_its_report_or_its_rows_are_counted(gate: Gate) -> None:
    by_id = gate.datasets()
    for name, path in gate.bad.items():
        found = by_id[f"d{sha256_file(path)[:12]}"]
        if found["state"] == "rejected":
            assert (gate.workspace.rejected / name).read_bytes() == path.read_bytes()
            report = (gate.workspace.rejected / f"{name}.report.txt").read_text("utf-8")
            assert all(f"\n{word}: " in report for word in ("what", "why", "remedy")), (name, report)
            assert "Traceback" not in report, (name, report)
            continue
        counts = [found[state] for state in ("train", "held_out", "duplicate", "quarantined")]
        assert found["rows_in"] == sum(counts) > 0, name
    assert sum(found["state"] == "rejected" for found in by_id.values()) >= len(gate.bad) // 3


def test_the_supervisor_is_up_and_nothing_is_left(gate: Gate) -> None:
    assert gate.supervisor.poll() is None
    assert list(gate.workspace.tasks.iterdir()) == []
    codes = [event["code"] for event in Reader(gate.workspace).events()]
    assert [code for code in codes if "crash" in code] == []


def test_a_file_edited_to_hide_test_rows_does_not_train_them(gate: Gate) -> None:
    first = next(found for found in gate.datasets().values() if found["name"] == "good-0.jsonl")
    sealed = Dataset(gate.workspace.dataset(first["id"])).heldout_rows()
    hidden = []
    for row in sealed:
        prompt, answer = row.prompt_messages()[0]["content"], row.answer()
        words = prompt.split()
        changed = [" ".join([*words[:i], "wholly", *words[i + 1 :]]) for i in range(len(words))]
        hidden += [
            {"question": one, "answer": answer} for one in (prompt.upper(), prompt.replace(" ", " \n "), *changed)
        ]
    path = gate.workspace.inbox / "edited.jsonl"
    write(path, [*hidden, *rows(99)])
    num_runs = len(Reader(gate.workspace).runs())
    deadline = time.monotonic() + 120
    while not (edited := [found for found in gate.datasets().values() if found["name"] == "edited.jsonl"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    gate.until_ended(1)
    taken = Dataset(gate.workspace.dataset(edited[0]["id"]))
    assert len(sealed) == 16 and len(hidden) == 16 * 8
    assert {row.line for row in taken.train_rows()} <= set(range(len(hidden) + 1, len(hidden) + 61))
    assert len(Reader(gate.workspace).runs()) == num_runs + 1
    assert taken.summary["train"] >= 40
