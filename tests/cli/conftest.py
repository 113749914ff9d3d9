"""Labs for the command line's tests: an empty one, and one with a history written by the real store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from small_datasets import Take, take_rows
from sqlalchemy import insert

from stoker.cli import run
from stoker.cli.init import create_lab
from stoker.cli.lab import use_lab
from stoker.store import tables as t
from stoker.store.series import put_points
from stoker.store.store import Store
from stoker.workspace import Workspace


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return orjson.loads(self.out)


Stoker = Callable[..., Answer]


@pytest.fixture
def stoker(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stoker]:
    """Run a command as the shell would, in this process."""
    monkeypatch.delenv("STOKER_DEBUG", raising=False)
    monkeypatch.delenv("STOKER_LAB", raising=False)

    def call(*args: str) -> Answer:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    yield call
    use_lab(None)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty lab; the current folder is in it."""
    workspace = create_lab(tmp_path / "lab", base="tiny")
    monkeypatch.chdir(workspace.root)
    return workspace


@pytest.fixture
def take(lab: Workspace, tmp_path: Path) -> Take:
    """Take rows in as a dataset of the lab."""
    return functools.partial(take_rows, lab, tmp_path)


@pytest.fixture
def history(lab: Workspace) -> Workspace:
    """A lab in which one file was trained and promoted, and a second one waits."""
    store = Store(lab.store, now=lambda: 1_700_000_000.0)
    store.claim()
    with store.transaction() as transaction:
        for table, rows in _ROWS:
            for row in rows:
                transaction.execute(insert(table).values(**row))
        put_points(transaction, "r1", ((name, step, value) for step in (1, 2, 3) for name, value in _measured(step)))
        transaction.put("model", "main")
        transaction.event("info", "version.promoted", "main/v1 is the champion: better", run="r1", version="main/v1")
    store.close()
    ledger = lab.dataset("d0123456789ab") / "ledger.jsonl"
    ledger.parent.mkdir()
    record = {
        "line": 7,
        "row": "ff",
        "state": "quarantined",
        "code": "no-answer",
        "reason": "no answer",
        "cluster": None,
    }
    ledger.write_bytes(orjson.dumps(record) + b"\n")
    return lab


_NOW = 1_700_000_000.0


def _measured(step: int) -> list[tuple[str, float]]:
    return [
        ("loss", 2.0 / step), ("learning_rate", 1e-3), ("grad_norm", 1.0), ("tokens", 1000), ("rows", 8), ("seconds", 0.5),
        ("epoch", step / 3), ("time", _NOW + step),
    ]  # fmt: skip


_ROWS: list[tuple[Any, list[dict[str, Any]]]] = [
    (
        t.files,
        [
            {"sha256": "01" * 32, "name": "orders.jsonl", "bytes": 2048, "accepted_at": _NOW},
            {"sha256": "02" * 32, "name": "more.jsonl", "bytes": 1024, "accepted_at": _NOW},
        ],
    ),
    (
        t.datasets,
        [
            {
                "id": "d0123456789ab", "number": 1, "file_sha256": "01" * 32, "name": "orders.jsonl", "state": "trained",
                "format": "messages", "rows_in": 100, "train": 80, "held_out": 15, "duplicate": 4, "quarantined": 1,
                "reasons": {"no-answer": 1}, "notes": ["a small file"], "created": _NOW,
            },
            {
                "id": "d0a", "number": 2, "file_sha256": "02" * 32, "name": "more.jsonl", "state": "ready",
                "format": "alpaca", "rows_in": 10, "train": 10, "held_out": 0, "duplicate": 0, "quarantined": 0,
                "created": _NOW,
            },
        ],
    ),
    (
        t.jobs,
        [
            {"id": "j1", "number": 1, "dataset": "d0123456789ab", "position": 1, "created": _NOW},
            {"id": "j2", "number": 2, "dataset": "d0a", "position": 2, "created": _NOW},
        ],
    ),
    (
        t.runs,
        [
            {
                "id": "r1", "number": 1, "job": "j1", "dataset": "d0123456789ab", "state": "done", "model": "main",
                "version": 1, "step": 3, "total_steps": 3, "loss": 0.5, "created": _NOW, "started_at": _NOW,
                "ended_at": _NOW + 60,
            },
            {"id": "r2", "number": 2, "job": "j2", "dataset": "d0a", "state": "queued", "created": _NOW},
        ],
    ),
    (
        t.models,
        [
            {
                "name": "main", "number": 1, "family": "main", "base": "tiny", "revision": "main",
                "shape": {"method": "full"}, "champion": 1, "created": _NOW,
            }
        ],
    ),
    (
        t.versions,
        [
            {
                "model": "main", "version": 1, "run": "r1", "state": "published", "method": "full",
                "weights_sha256": "ab" * 32, "base_sha256": "cd" * 32, "steps": 3, "datasets": ["d0123456789ab"],
                "outcome": "promoted", "created": _NOW,
            }
        ],
    ),
    (
        t.evaluations,
        [{"id": "e1", "number": 1, "run": "r1", "model": "main", "version": 1, "state": "done", "created": _NOW}],
    ),
    (
        t.comparisons,
        [
            {
                "evaluation": "e1", "candidate": "main/v1", "against": "base", "benchmark": "heldout", "metric": "nll",
                "n": 15, "candidate_score": 0.5, "against_score": 3.1, "difference": -2.6, "low": -3.0, "high": -2.2,
                "p_value": 0.00006, "outcome": "better", "minimum_detectable_effect": 0.2, "is_primary": True,
            }
        ],
    ),
    (
        t.verdicts,
        [{"evaluation": "e1", "promote": True, "outcome": "better", "reason": "Promoted main/v1.", "time": _NOW}],
    ),
]  # fmt: skip
