"""From a dataset to the models made from it, and back: both ways say the same."""

from __future__ import annotations

from typing import Any

from stoker.durable import publish_folder
from stoker.errors import WorkerExit
from stoker.registry import versions
from stoker.registry.lines import line_for
from stoker.store import tables as t
from stoker.store.reader import Reader
from stoker.store.store import set_fields
from stoker.supervisor import recover


def finish(lab: Any, number: int, dataset: str, replay: list[str], parent: int | None) -> None:
    """End a run whose worker published a version that says what it trained."""
    with lab.store.transaction() as tx:
        line_for(tx, lab.workspace, lab.context.spec.model)
        set_fields(tx, t.runs, f"r{number}", state="running", fence=1, model="main", version=number, parent=parent)
    facts = {
        "model": "main", "version": number, "method": "full", "weights_sha256": f"{number}" * 64,
        "base": {"name": "tiny", "sha256": "b" * 64}, "datasets": [dataset], "replay": replay, "steps": 4,
    }  # fmt: skip
    with publish_folder(lab.workspace.version("main", number), facts) as staging:
        (staging / "model.safetensors").write_bytes(b"weights")
    with lab.store.transaction() as tx:
        recover.run_ended(lab.context, tx, f"r{number}", {"exit": int(WorkerExit.DONE)})
        versions.promote(tx, "main", number, "better")


def test_datasets_and_models_name_each_other(lab: Any) -> None:
    first, second, third = (lab.dataset(number) for number in (1, 2, 3))
    finish(lab, 1, first, [], None)
    finish(lab, 2, second, [first], 1)
    finish(lab, 3, third, [second], 2)
    reader = Reader(lab.workspace)
    assert [(one["version"], one["role"], one["run"]) for one in reader.dataset_detail(first)["models"]] == [
        ("main/v1", "new", "r1"), ("main/v2", "replay", "r2"), ("main/v3", "inherited", "r3")
    ]  # fmt: skip
    from_data = {
        (dataset, one["version"], one["role"])
        for dataset in (first, second, third)
        for one in reader.dataset_detail(dataset)["models"]
    }
    from_models = {
        (one["dataset"], f"main/v{number}", one["role"])
        for number in (1, 2, 3)
        for one in reader.version_detail("main", number)["lineage"]
    }
    assert from_data == from_models and len(from_data) == 6
    detail = reader.dataset_detail(third)
    assert (detail["jobs"], detail["runs"]) == (["j3"], ["r3"])
    assert [(one["name"], one["sha256"]) for one in detail["files"]] == [("f3.jsonl", f"{3:064x}")]
    assert detail["version"] == {
        "family": third, "version": 1, "relation": "first", "standing": "in-force", "current": third
    }  # fmt: skip


def test_a_deleted_version_stays_in_the_lineage_and_says_so(lab: Any) -> None:
    first, second = lab.dataset(1), lab.dataset(2)
    finish(lab, 1, first, [], None)
    finish(lab, 2, second, [first], 1)
    with lab.store.transaction() as tx:
        tx.execute(t.evaluations.update().values(state="done"))
        versions.delete(tx, "main", 1, is_confirmed=True)
    states = [(one["version"], one["state"]) for one in Reader(lab.workspace).dataset_detail(first)["models"]]
    assert states == [("main/v1", "deleted"), ("main/v2", "published")]
