"""Files taken together: one dataset in which every row of every file is counted, under its file and line."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from small_lab import SmallLab

from stoker.data.bundle import bundle_name, write_bundle
from stoker.data.dataset import Dataset
from stoker.data.findings import FileRefused


def rows(start: int, number: int = 60) -> bytes:
    made = (
        {"prompt": f"What is {n * 31} and {n * 7}?", "answer": f"It is {n * 38} of {n}."}
        for n in range(start, start + number)
    )
    return b"".join(orjson.dumps(row) + b"\n" for row in made)


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def bundle(tmp_path: Path, files: list[Path]) -> bytes:
    target = tmp_path / "bundle.zip"
    write_bundle(files, target)
    return target.read_bytes()


def take(lab: SmallLab, tmp_path: Path, files: dict[str, bytes]) -> Dataset:
    paths = [put(tmp_path / "given", name, content) for name, content in files.items()]
    return lab.take(bundle(tmp_path, paths), "all.zip")


def findings(dataset: Dataset, code: str) -> list[tuple[str, int]]:
    found: list[dict[str, Any]] = dataset.summary["findings"]
    return [(one["file"], one["line"]) for one in found if one["code"] == code]


def test_the_same_files_make_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    files = [put(tmp_path, name, rows(n)) for n, name in enumerate(("b.jsonl", "a.jsonl", "x/a.jsonl"))]
    first = bundle(tmp_path, files)
    for file in files:
        file.touch()
    assert bundle(tmp_path, files[::-1]) == first
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert sorted(archive.namelist()) == ["a-2.jsonl", "a.jsonl", "b.jsonl"]
    files[0].write_bytes(rows(9))
    assert bundle(tmp_path, files) != first


def test_files_together_are_named_after_the_first_of_them() -> None:
    assert bundle_name([Path("b.jsonl"), Path("x/a.csv")]) == "a+b.zip"
    assert bundle_name([Path(name) for name in ("a", "b", "c.txt", "d", "e")]) == "a+b+3-more.zip"


def test_every_row_of_every_file_is_counted_with_its_file_and_line(lab: SmallLab, tmp_path: Path) -> None:
    files = {
        "a.jsonl": rows(0),
        "b.jsonl": b'{"odd": 1}\n' + rows(40),
        "c.csv": b"prompt,completion\nhow many,four\nwhy,\n",
    }
    found = take(lab, tmp_path, files)
    summary = found.summary
    ledger = list(found.ledger())
    assert summary["rows_in"] == len(ledger) == 60 + 61 + 2
    assert summary["rows_in"] == sum(summary[side] for side in ("train", "held_out", "duplicate", "quarantined"))
    assert [(one["name"], one["rows"]) for one in summary["files"]] == [("a.jsonl", 60), ("b.jsonl", 61), ("c.csv", 2)]
    assert [record["member"] for record in ledger[:1] + ledger[-1:]] == ["a.jsonl", "c.csv"]
    unusable = [(record["member"], record["line"]) for record in ledger if record["state"] == "quarantined"]
    assert ("b.jsonl", 1) in unusable and ("c.csv", 3) in unusable
    repeated = [record for record in ledger if record["state"] == "duplicate"]
    assert len(repeated) == 20 and "of a.jsonl" in repeated[0]["reason"]


def test_a_finding_names_the_file_of_its_row(lab: SmallLab, tmp_path: Path) -> None:
    odd = (
        orjson.dumps({"prompt": "Dear {{name}}, who asks what here?", "answer": "None of them is known to me."}) + b"\n"
    )
    again = orjson.dumps({"prompt": "What is 31 and 7?", "answer": "Something else entirely, as it seems."}) + b"\n"
    found = take(lab, tmp_path, {"a.jsonl": rows(0), "b.jsonl": rows(100, 30) + odd + again})
    assert findings(found, "placeholders") == [("all.zip: b.jsonl", 31)]
    assert set(findings(found, "conflicting-answers")) == {("all.zip: a.jsonl", 2), ("all.zip: b.jsonl", 32)}


def test_prose_beside_tables_is_read_too_since_a_person_named_it(lab: SmallLab, tmp_path: Path) -> None:
    text = b"\n\n".join(b"Paragraph %d tells of the town and its %d people." % (n, n * 7) for n in range(20))
    found = take(lab, tmp_path, {"a.jsonl": rows(0), "notes.txt": text})
    assert {one["name"] for one in found.summary["files"]} == {"a.jsonl", "notes.txt"}
    assert "text" in found.summary["format"]


def test_a_hidden_or_packed_file_is_read_too(lab: SmallLab, tmp_path: Path) -> None:
    found = take(lab, tmp_path, {".mine.jsonl": rows(0), "b.jsonl.gz": gzip.compress(rows(100))})
    assert [(one["name"], one["rows"]) for one in found.summary["files"]] == [(".mine.jsonl", 60), ("b.jsonl.gz", 60)]


@pytest.mark.parametrize(
    ("name", "content"),
    [("bad.pdf", b"%PDF-1.4 ..."), ("bad.jsonl", b""), ("bad.jsonl", b'{"prompt": "half a fi'), ("bad.zip", b"PK\x03\x04"), ("bad.gz", gzip.compress(rows(1))[:-9])],
)  # fmt: skip
def test_a_file_that_is_broken_as_a_whole_refuses_all_and_is_named(
    lab: SmallLab, tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(FileRefused, match=rf"all\.zip: {name}"):
        take(lab, tmp_path, {"a.jsonl": rows(0), name: content})
    assert not list((tmp_path / "datasets").glob("d*"))
