"""`stoker data report`: one page about a dataset or a file, where it is put, and what is never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_datasets import Take, as_lines, mails, record_dataset

from stoker.workspace import Workspace


def test_a_report_of_a_dataset_is_written_anew_and_one_of_a_file_overwrites_nothing(
    stoker: Any, take: Take, lab: Workspace
) -> None:
    take(mails())
    target = lab.reports / "data-d1.html"
    for _ in range(2):
        assert stoker("data", "report", "d1").out == f"{target}\n"
    assert "Is mail 0 spam?" in target.read_text("utf-8")
    Path("<b>.jsonl").write_bytes(as_lines(mails()))
    written = stoker("data", "report", "<b>.jsonl", "--out", "page.html", "--json").json()
    assert Path(written["file"]).stat().st_size == written["bytes"]
    page = Path("page.html").read_text("utf-8")
    assert "<title>&lt;b&gt;.jsonl</title>" in page and "checked, not taken" in page
    assert stoker("data", "report", "d1", "--out", "page.html").code == 4
    assert Path("page.html").read_text("utf-8") == page
    assert stoker("data", "report", "d1", "--out", "no/such/page.html").code == 3
    assert stoker("data", "report", "<b>.jsonl").out == f"{lab.reports / 'data-b-.jsonl.html'}\n"


def test_a_report_of_a_file_needs_no_lab(stoker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("half.jsonl").write_bytes(b'{"question": "a", "ans')
    assert stoker("data", "report", "half.jsonl").code == 0
    assert "half a file" in Path("data-half.jsonl.html").read_text("utf-8")


def test_a_rejected_dataset_has_its_reason_on_the_page_and_an_unread_one_has_no_page(
    stoker: Any, lab: Workspace
) -> None:
    record_dataset(lab, "d1", "half.jsonl", "ab" * 32, "rejected", refusal="half a file")
    record_dataset(lab, "d2", "new.jsonl", "cd" * 32, "accepted")
    assert stoker("data", "report", "d1").code == 0
    assert "half a file" in (lab.reports / "data-d1.html").read_text("utf-8")
    answer = stoker("data", "report", "d2")
    assert answer.code == 3 and "not read yet" in answer.err
