"""`stoker data preview`: the rows as they are trained, by a real worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from small_datasets import Take, as_lines, mails

from stoker.cli.preview import SHOWN_CHARACTERS
from stoker.workspace import Workspace


def preview(*args: str, lab: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stoker", "--lab", str(lab), "data", "preview", *args],
        capture_output=True, text=True, timeout=400, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_rows_are_previewed_as_they_are_trained(take: Take, lab: Workspace) -> None:
    long = {"question": "Is\x1b[31m\nit?", "answer": f"<|im_start|>{'yes no ' * 2 * SHOWN_CHARACTERS}"}
    pair = {"prompt": "Is it so?", "chosen": "yes", "rejected": "no"}
    take([*mails()[:-2], long, pair])
    done = preview("d1", "--line", "79", "--line", "80", "--line", "2", lab=lab.root, FORCE_COLOR="1", NO_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert not re.search(r"\x1b\[[0-9;]*3\dm", done.stdout), "NO_COLOR"
    shown = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert "the tiny base is not made yet" in shown
    assert "Is mail 7919 spam?<|im_end|>↵\n<|im_start|>assistant↵\n⟦ham<|im_end|>⟧" in shown
    assert "--- line 2 · " in shown and "4,096 fit (train.max_length)" in shown
    assert "\x1b" not in shown and "Is<U+001B>[31m↵\nit?" in shown and "--json has them" in shown
    assert "--- line 80 · preference pair, kept" in shown and "chosen: " in shown and "rejected: " in shown
    assert "⟦yes<|im_end|>⟧" in shown and "⟦no<|im_end|>⟧" in shown
    assert list(lab.tasks.iterdir()) == [] and list(lab.bases.iterdir()) == []


@pytest.mark.slow
def test_a_file_is_previewed_without_being_taken(lab: Workspace) -> None:
    Path("mails.jsonl").write_bytes(as_lines(mails()))
    done = preview("mails.jsonl", "--rows", "4", "--json", lab=lab.root)
    assert done.returncode == 0, done.stderr
    told = orjson.loads(done.stdout)
    assert told["is_provisional"] and told["max_length"] == 4096 and len(told["rows"]) == 4
    for row in told["rows"]:
        assert row["text"] == "".join(segment["text"] for segment in row["segments"])
        assert 0 < row["num_trained_tokens"] < row["num_tokens"] and row["problem"] is None
        assert {segment["trained"] for segment in row["segments"]} == {True, False}
    assert list(lab.inbox.iterdir()) == [] and not lab.store.exists(), "a look takes nothing"


def test_what_has_no_rows_to_preview_says_why(stoker: Any, take: Take) -> None:
    take([*mails(), {"question": "Is it?", "answer": ""}])
    answer = stoker("data", "preview", "d1", "--line", "81")
    assert answer.code == 3 and "quarantined" in answer.err and "empty-answer" in answer.err
    assert stoker("data", "preview", "d9").code == 3
    Path("half.jsonl").write_bytes(b'{"question": "a", "ans')
    refused = stoker("data", "preview", "half.jsonl")
    assert refused.code == 5 and "half a file" in refused.err
