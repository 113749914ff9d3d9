"""The sealed rows that are asked: all of a dataset in force, and of a replaced one those that a version in force has."""

from __future__ import annotations

from pathlib import Path

import orjson

from stoker.data.rows import Row
from stoker.evaluate.items import REPLACED, load_sets
from stoker.spec.jobs import DatasetRef, ItemSet
from stoker.spec.lab import EvaluateSpec


def make(folder: Path, rows: list[Row], ledger: list[Row]) -> Path:
    folder.mkdir()
    sealed = [{**row.to_json(), "cluster": row.line, "is_representative": True} for row in rows]
    (folder / "heldout.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in sealed))
    entries = [{"row": row.id, "state": "held_out", "line": row.line} for row in ledger]
    (folder / "ledger.jsonl").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in entries))
    return folder


def test_sealed_rows_that_the_current_version_lacks_are_counted_and_not_asked(tmp_path: Path) -> None:
    said = [("user", f"question {n}") for n in range(4)]
    rows = [
        Row.from_content(n + 1, [{"role": role, "content": text}, {"role": "assistant", "content": f"answer {n}"}])
        for n, (role, text) in enumerate(said)
    ]
    old = make(tmp_path / "old", rows, rows)
    new = make(tmp_path / "new", [], rows[:3])
    whole = DatasetRef(id="old", folder=old, name="old.jsonl")
    replaced = whole.model_copy(update={"kept_by": (new,)})
    (all_of_them,) = load_sets([ItemSet(name="heldout", heldout=(whole,))], [], EvaluateSpec(heldout_answers=2))
    assert len(all_of_them.items) == 4 and not all_of_them.left_out
    (found,) = load_sets([ItemSet(name="heldout", heldout=(replaced,))], [], EvaluateSpec(heldout_answers=2))
    assert {item.id for item in found.items} == {row.id for row in rows[:3]}
    assert found.left_out == {REPLACED: 1}
