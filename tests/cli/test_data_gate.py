"""`stoker data check|convert|diff`: what a person asks of a file before and after it is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import insert

from stoker.data.accept import accept_file
from stoker.data.intake import take_in
from stoker.errors import WorkerExit
from stoker.mailbox.messages import Outbox
from stoker.spec.jobs import DatasetRef, IntakeJob
from stoker.spec.lab import IntakeSpec
from stoker.store import tables as t
from stoker.store.store import Store
from stoker.workspace import Workspace


def rows(num: int, word: str = "It") -> list[dict[str, Any]]:
    return [
        {"question": f"What is {n} and {n * 7}?", "answer": f"{word} is number {n * 8} of {n * 13}."}
        for n in range(num)
    ]


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


@pytest.fixture
def two(lab: Workspace, tmp_path: Path) -> Workspace:
    """A lab that has taken two files."""
    store = Store(lab.store, now=lambda: 1.0)
    store.claim()
    second = [{**rows(1)[0], "answer": "None."}, *rows(50)[1:], *rows(70, "That")[65:]]
    for number, records in ((1, rows(60)), (2, second)):
        source = tmp_path / f"file{number}.jsonl"
        source.write_bytes(as_lines(records))
        accepted = accept_file(source, tmp_path / "files")
        folder = lab.tasks / f"t{number}"
        folder.mkdir()
        reference = DatasetRef(id=f"d{number}", folder=lab.dataset(f"d{number}"), name=source.name)
        job = IntakeJob(
            dataset=reference, file=accepted.path, file_sha256=accepted.sha256, intake=IntakeSpec(allow_unproven=True)
        )
        outbox = Outbox(folder)
        summary = take_in(job, folder, outbox)
        outbox.finished(WorkerExit.DONE)
        counts = {
            name: summary[name] for name in ("rows_in", "train", "held_out", "duplicate", "quarantined", "format")
        }
        with store.transaction() as transaction:
            file = {"sha256": accepted.sha256, "name": source.name, "bytes": accepted.bytes, "accepted_at": 1.0}
            transaction.execute(insert(t.files).values(**file))
            record = {"id": f"d{number}", "number": number, "file_sha256": accepted.sha256, "name": source.name}
            transaction.execute(insert(t.datasets).values(**record, state="ready", created=1.0, **counts))
    store.close()
    return lab


def test_a_clean_file_is_checked_without_a_lab(stoker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_bytes(as_lines(rows(60)))
    answer = stoker("data", "check", "rows.jsonl", "--json")
    found = answer.json()
    assert answer.code == 0
    assert (found["format"], found["rows_in"], found["score"], found["gate"]) == ("query-response", 60, 100, "pass")
    assert found["deductions"] == [] and found["findings"] == []


def test_findings_have_file_line_and_remedy(stoker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_bytes(as_lines([*rows(60), {"question": "q", "answer": ""}]))
    found = stoker("data", "check", "rows.jsonl", "--json").json()
    (finding,) = found["findings"]
    assert {key: finding[key] for key in ("code", "severity", "file", "line")} == {
        "code": "empty-answer", "severity": "warn", "file": "rows.jsonl", "line": 61,
    }  # fmt: skip
    assert finding["remedy"] and found["score"] == 98
    assert "empty-answer" in stoker("data", "check", "rows.jsonl").out


def test_what_blocks_ends_with_5(stoker: Any, lab: Workspace) -> None:
    Path("half.jsonl").write_bytes(b'{"question": "a", "ans')
    answer = stoker("data", "check", "half.jsonl", "--json")
    assert answer.code == 5 and [one["severity"] for one in answer.json()["findings"]] == ["block"]
    Path("poor.jsonl").write_bytes(as_lines([{**row, "answer": "As an AI, {{name}}, I can't."} for row in rows(60)]))
    assert stoker("data", "check", "poor.jsonl").code == 5
    lab.settings.write_text('[model]\nbase = "tiny"\n[check]\nstop_below = 10\n')
    assert stoker("data", "check", "poor.jsonl").code == 0
    assert list(lab.inbox.iterdir()) == [] and not lab.store.exists(), "a check takes nothing"


def test_a_check_inside_a_lab_sees_its_sealed_rows(stoker: Any, two: Workspace) -> None:
    Path("again.jsonl").write_bytes(as_lines(rows(60)))
    found = stoker("data", "check", "again.jsonl", "--json").json()
    assert found["duplicate"] > 0 and found["held_out"] > 0 and found["train"] == 0
    assert stoker("data", "check", "d1", "--json").json()["rows_in"] == 60
    assert stoker("data", "check", "d9").code == 3


def test_a_check_inside_a_lab_measures_rows_with_its_tokenizer(stoker: Any, lab: Workspace, tiny_base: Path) -> None:
    lab.settings.write_text(f'[model]\nbase = "{tiny_base}"\n[train]\nmax_length = 300\n')
    Path("rows.jsonl").write_bytes(as_lines([*rows(60), {"question": "Why?", "answer": "So it is. " * 200}]))
    found = stoker("data", "check", "rows.jsonl", "--json").json()
    assert (found["tokens"]["tokenizer"], found["tokens"]["max_length"]) == (str(tiny_base), 300)
    assert [(one["code"], one["line"]) for one in found["findings"]] == [("too-long", 61)]
    shown = stoker("data", "check", "rows.jsonl").out
    assert "rows lost by a max_length of 256: 1; 512: 1" in shown


def test_a_lab_without_its_base_says_when_rows_are_measured(stoker: Any, lab: Workspace) -> None:
    Path("rows.jsonl").write_bytes(as_lines(rows(60)))
    answer = stoker("data", "check", "rows.jsonl", "--json").json()
    assert answer["tokens"] is None and "when the first run starts" in answer["notes"][-1]


def test_a_dataset_is_written_in_another_format(stoker: Any, two: Workspace) -> None:
    answer = stoker("data", "convert", "d1", "--to", "csv", "--out", "all.csv", "--side", "all", "--json")
    assert answer.json() == {"file": "all.csv", "rows": 60, "left_out": {}}
    assert stoker("data", "check", "all.csv", "--json").json()["rows_in"] == 60
    assert stoker("data", "convert", "d1", "--to", "csv", "--out", "all.csv").code == 4
    assert stoker("data", "convert", "d1", "--to", "csv", "--out", "no/such/all.csv").code == 3
    train = stoker("data", "convert", "d1", "--to", "openai", "--out", "train.jsonl", "--json").json()["rows"]
    assert 0 < train < 60


def test_datasets_are_compared_row_by_row(stoker: Any, two: Workspace) -> None:
    found = stoker("data", "diff", "d1", "d2", "--json").json()
    assert [len(found[name]) for name in ("added", "removed", "changed")] == [5, 10, 1]
    (changed,) = found["changed"]
    assert (changed["before"], changed["after"]) == ("It is number 0 of 0.", "None.")
    swapped = stoker("data", "diff", "d2", "d1", "--json").json()
    assert [len(swapped[name]) for name in ("added", "removed", "changed")] == [10, 5, 1]
    assert "5 added, 10 removed, 1 changed" in stoker("data", "diff", "d1", "d2").out


def test_unknown_columns_are_mapped_once(stoker: Any, lab: Workspace) -> None:
    records = [{"title": row["question"], "reply": row["answer"], "id": n} for n, row in enumerate(rows(60))]
    Path("mails.jsonl").write_bytes(as_lines(records))
    assert stoker("data", "check", "mails.jsonl").code == 5
    proposal = stoker("data", "map", "mails.jsonl", "--json").json()
    assert proposal["fields"] == {"prompt": "{title}", "completion": "{reply}"} and not proposal["saved"]
    assert stoker("data", "check", "mails.jsonl").code == 5, "a proposal changes nothing"
    assert "--map '{title}=prompt' --map '{reply}=completion'" in stoker("data", "map", "mails.jsonl").err
    saved = stoker("data", "map", "mails.jsonl", "--map", "title=prompt,reply=completion")
    assert saved.code == 0 and "It is number 8 of 13." in saved.out
    assert stoker("data", "check", "mails.jsonl", "--json").json()["format"] == "prompt-completion"
    assert stoker("data", "map", "mails.jsonl", "--map", "nothing=prompt").code == 5
