"""`stoker add --together`: several files in the inbox as one."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.workspace import Workspace

Stoker = Callable[..., Any]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / name for name in ("b.jsonl", "a.jsonl")]
    for path in paths:
        path.write_text(f'{{"prompt": "{path.name}", "answer": "yes"}}\n')
    return [str(path) for path in paths]


def test_files_lie_in_the_inbox_one_by_one_or_as_one(lab: Workspace, stoker: Stoker, files: list[str]) -> None:
    assert stoker("add", *files).code == 0
    assert sorted(path.name for path in lab.inbox.iterdir()) == ["a.jsonl", "b.jsonl"]
    assert stoker("add", *files, "--together").out.strip().endswith("inbox/a+b.zip")
    assert stoker("add", *files[::-1], "--together", "--name", "orders").code == 0
    with zipfile.ZipFile(lab.inbox / "orders.zip") as archive:
        assert archive.namelist() == ["a.jsonl", "b.jsonl"]
    assert (lab.inbox / "orders.zip").read_bytes() == (lab.inbox / "a+b.zip").read_bytes()
    assert not [path for path in lab.inbox.iterdir() if path.name.startswith(".")]


def test_a_name_is_for_files_taken_together(lab: Workspace, stoker: Stoker, files: list[str]) -> None:
    for words in (("--name", "orders"), ("--together", "--name", "../orders"), ("--together", "--name", ".orders")):
        refused = stoker("add", *files, *words)
        assert refused.code == 2 and "error: " in refused.err
    assert stoker("add", *files, "gone.jsonl", "--together").code == 3
    assert list(lab.inbox.iterdir()) == []
