"""`python -m stoker.data FOLDER` and what it publishes."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from small_lab import SmallLab

from stoker.data.dataset import Dataset
from stoker.data.findings import EXCERPT_CHARS, FileRefused
from stoker.durable import verify_folder
from stoker.errors import WorkerExit
from stoker.mailbox.journal import JournalReader
from stoker.spec.lab import CheckSpec, IntakeSpec


def question_rows(num_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    chooser = random.Random(seed)
    return [
        {"question": f"What is {i} of {chooser.random()}?", "answer": " ".join(chooser.choices("abcdefghijk", k=30))}
        for i in range(num_rows)
    ]


def run(
    lab: SmallLab, content: bytes, name: str = "rows.jsonl", **environment: str
) -> tuple[int, list[dict[str, Any]], Path]:
    job, folder = lab.job(content, name)
    (folder / "job.json").write_text(job.model_dump_json())
    process = subprocess.run(
        [sys.executable, "-m", "stoker.data", str(folder)], env={"PATH": "/usr/bin:/bin", **environment}, timeout=60
    )
    lab.datasets.append(job.dataset)
    return process.returncode, JournalReader(folder / "messages.jsonl").read(), folder


def as_lines(rows: list[Any]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def test_the_process_publishes_a_dataset_and_says_so(lab: SmallLab) -> None:
    code, messages, folder = run(lab, as_lines(question_rows(50)))
    assert code == 0 and [message["kind"] for message in messages][-2:] == ["result", "finished"]
    assert [message["name"] for message in messages if message["kind"] == "phase"] == [
        "start",
        "read",
        "compare",
        "publish",
    ]
    assert messages[-1]["exit"] == WorkerExit.DONE
    dataset = lab.datasets[0]
    assert verify_folder(dataset.folder)["dataset"] == dataset.id
    assert messages[-2]["summary"] == Dataset(dataset.folder).summary
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "messages.jsonl", "rows.jsonl"]


def test_a_refused_file_leaves_a_report_and_no_dataset(lab: SmallLab) -> None:
    code, messages, folder = run(lab, as_lines([{"foo": 1, "bar": 2}, {"foo": 3}]), "odd.jsonl")
    finished = messages[-1]
    assert code == WorkerExit.BAD_CONFIG == finished["exit"]
    assert "bar" in finished["what"] and "foo" in finished["what"] and "question, answer" in finished["why"]
    assert (finished["file"], finished["line"]) == ("odd.jsonl", 1) and finished["remedy"]
    report = (folder / "report.txt").read_text()
    assert "line 2: unknown-keys" in report and '{"foo":3}' in report and "remedy: " in report
    assert not lab.datasets[0].folder.exists() and not list(folder.glob("canonical*"))


def test_memory_is_limited_and_running_out_is_a_refusal(lab: SmallLab) -> None:
    lab.intake = IntakeSpec(memory_megabytes=512)
    content = b"[" + b",".join([b'{"text": "' + b"x " * 30 + b'"}'] * 1_200_000) + b"]"
    code, messages, _ = run(lab, content, "big.json")
    assert code == WorkerExit.BAD_CONFIG and "memory_megabytes" in messages[-1]["remedy"]


def test_a_full_disk_publishes_nothing_and_says_so(lab: SmallLab) -> None:
    content = as_lines(question_rows(50))
    code, messages, _ = run(lab, content, STOKER_FAULT="dataset.rename:enospc")
    assert code == WorkerExit.DISK_FULL == messages[-1]["exit"]
    assert not lab.datasets[0].folder.exists()
    lab.datasets.clear()
    assert run(lab, content)[0] == 0


def test_every_row_ends_in_one_state_with_a_reason(lab: SmallLab) -> None:
    rows = question_rows(60)
    bad = [{"question": "q", "answer": ""}, {"question": None, "answer": "a"}, 5, {"foo": "x" * 500}]
    lines = [*rows[:30], *bad, rows[0], *rows[30:], rows[59]]
    dataset = lab.take(as_lines(lines).replace(b"\n5\n", b"\n5\nnot json\n"))
    summary, ledger = dataset.summary, list(dataset.ledger())
    assert summary["rows_in"] == 67 == len(ledger)
    assert (
        (summary["train"], summary["held_out"]) == (44, 16) == (len(dataset.train_rows()), len(dataset.heldout_rows()))
    )
    assert (summary["duplicate"], summary["quarantined"]) == (2, 5)
    assert summary["reasons"] == {
        "sealed": 16, "duplicate-in-file": 2, "empty-answer": 1, "null-value": 1,
        "not-object": 1, "not-json": 1, "unknown-keys": 1,
    }  # fmt: skip
    assert [record["line"] for record in ledger] == list(range(1, 68))
    assert ledger[35]["reason"] == "the same row is on line 1 (row 1)"
    quarantined = [record for record in ledger if record["state"] == "quarantined"]
    assert all(record["reason"] and record["remedy"] and record["excerpt"] for record in quarantined)
    assert max(len(record["excerpt"]) for record in quarantined) == EXCERPT_CHARS


def test_rows_on_one_line_of_json_are_still_told_apart(lab: SmallLab) -> None:
    rows = question_rows(40)
    summary = lab.take(orjson.dumps([*rows, rows[7]]), "rows.json").summary
    assert (summary["rows_in"], summary["duplicate"]) == (41, 1)


def test_a_file_of_quarantined_rows_is_refused_with_its_first_reasons(lab: SmallLab) -> None:
    with pytest.raises(FileRefused) as caught:
        lab.take(as_lines([{"question": "q", "answer": None}] * 12 + [{"question": "q", "answer": ""}]))
    assert "12 x null-value, 1 x empty-answer" in caught.value.what
    assert len(caught.value.findings) == 10 and caught.value.line == 1


def test_preference_rows_are_kept_apart_and_counted(lab: SmallLab) -> None:
    chats = question_rows(60)
    pairs = [{"prompt": row["question"] + " Say it again", "chosen": row["answer"], "rejected": "no"} for row in chats]
    dataset = lab.take_rows([*chats, *pairs, {**pairs[0]}])
    summary = dataset.summary
    assert summary["rows_in"] == 121 and summary["duplicate"] == 1
    assert summary["format"] == "mixed: preference, query-response"
    assert summary["train"] == len(dataset.train_rows()) + len(dataset.preference_rows())
    assert summary["preference_rows"] == len(dataset.preference_rows()) > 40
    assert {row.kind for row in dataset.preference_rows()} == {"preference"}
    assert {row.kind for row in dataset.train_rows() + dataset.heldout_rows()} == {"chat"}
    assert any("supervised training skips them" in note for note in summary["notes"])


def test_a_small_file_of_pairs_needs_no_proof(lab: SmallLab) -> None:
    summary = lab.take_rows([{"prompt": "q", "chosen": "a", "rejected": "b"}]).summary
    assert (summary["train"], summary["preference_rows"]) == (1, 1)


def test_members_of_a_zip_are_named_in_the_ledger(lab: SmallLab) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("one.jsonl", as_lines(question_rows(40)))
        archive.writestr("two.csv", "question,answer\nWho is it?,\nWho was that?,It was me\n")
    dataset = lab.take(file.getvalue(), "both.zip")
    rejected = [entry for entry in dataset.ledger() if entry["state"] == "quarantined"]
    assert [(entry["member"], entry["line"], entry["code"]) for entry in rejected] == [("two.csv", 2, "empty-answer")]
    assert dataset.summary["rows_in"] == 42


def test_placeholders_and_unused_keys_are_notes(lab: SmallLab) -> None:
    rows = [{**row, "answer": row["answer"] + " {{name}} by {{ author }}", "source": 1} for row in question_rows(40)]
    summary = lab.take_rows(rows).summary
    assert summary["finding_counts"]["placeholders"] == 40
    assert {"{{name}}"} == {one["excerpt"] for one in summary["findings"] if one["code"] == "placeholders"}
    assert "keys not used: source" in summary["notes"]


def test_the_score_counts_what_is_quarantined_repeated_and_near(lab: SmallLab) -> None:
    rows = question_rows(80)
    near = [{**row, "question": row["question"] + " Indeed?"} for row in rows[:8]]
    bad = [{"question": "q", "answer": ""}] * 10
    summary = lab.take_rows([*rows, *near, *bad, rows[0], rows[1]]).summary
    costs = {one["code"]: one["points"] for one in summary["deductions"]}
    assert costs["unusable-rows"] == 14.0 and costs["repeated-rows"] == 0.4 and costs["near-duplicates"] > 1
    assert summary["score"] == round(100 - sum(costs.values())) and summary["gate"] == "warn"
    lab.check = CheckSpec(warn_below=20, stop_below=10)
    assert lab.take_rows([*rows, *near, *bad, rows[0], rows[2]]).summary["gate"] == "pass"
    lab.check = CheckSpec(stop_below=95)
    assert lab.take_rows([*rows, *near, *bad, rows[0], rows[3]]).summary["gate"] == "stop"


def test_mojibake_is_repaired_when_asked(lab: SmallLab) -> None:
    rows = [{**row, "answer": row["answer"] + " Itâ€™s a cafÃ©."} for row in question_rows(40)]
    assert lab.take_rows(rows).summary["finding_counts"]["mojibake"] == 40
    lab.check = CheckSpec(repair_mojibake=True)
    dataset = lab.take_rows([*rows, {"question": "One more?", "answer": "Yes."}])
    assert "mojibake" not in dataset.summary["finding_counts"]
    assert "40 rows were decoded with the wrong encoding and are repaired" in dataset.summary["notes"]
    assert all("It’s a café." in row.answer() or row.answer() == "Yes." for row in dataset.train_rows())


def test_a_file_of_nothing_new_is_taken_with_nothing_to_train(lab: SmallLab) -> None:
    rows = question_rows(80)
    lab.take_rows(rows)
    summary = lab.take_rows(rows[::-1]).summary
    assert (summary["train"], summary["duplicate"], summary["held_out"]) == (0, 64, 16)
    assert any("nothing is left to train on" in note for note in summary["notes"])


def test_mixed_formats_in_one_file_are_named(lab: SmallLab) -> None:
    rows = [*question_rows(40), {"text": "Some plain words of an own kind."}]
    dataset = lab.take_rows(rows)
    assert dataset.summary["format"] == "mixed: query-response, text"
    assert len([row for row in dataset.train_rows() + dataset.heldout_rows() if row.text]) == 1
