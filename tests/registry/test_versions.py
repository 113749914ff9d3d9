"""Lines, the champion and its rollback, deletion rules, lineage."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, select

from stoker.durable import publish_folder
from stoker.errors import Damaged, NotAllowed, NotFound
from stoker.registry import versions
from stoker.registry.lineage import ancestors, replay_datasets
from stoker.registry.lines import base_ref, line_for
from stoker.spec.lab import ModelSpec
from stoker.store import tables as t
from stoker.store.records import RunRecord
from stoker.store.store import Store, Transaction
from stoker.workspace import Workspace


@pytest.fixture
def lab(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.create()
    return workspace


@pytest.fixture
def tx(lab: Workspace):
    store = Store(lab.store, now=lambda: 5.0)
    store.claim()
    with store.transaction() as transaction:
        yield transaction
    store.close()


def make_version(tx: Transaction, number: int, parent: int | None = None, model: str = "main") -> None:
    """Publish a version whose run trained a dataset of its own."""
    dataset, run = f"d{model}{number}", f"r-{model}-{number}"
    index = tx.next_number(t.datasets)
    tx.execute(insert(t.files).values(sha256=dataset, name=dataset, bytes=1, accepted_at=0.0))
    tx.execute(
        insert(t.datasets).values(
            id=dataset, number=index, file_sha256=dataset, name=dataset, state="trained", created=0.0
        )
    )
    tx.execute(insert(t.jobs).values(id=f"j{run}", number=index, dataset=dataset, position=1, created=0.0))
    values = {
        "job": f"j{run}",
        "dataset": dataset,
        "state": "done",
        "model": model,
        "version": number,
        "parent": parent,
    }
    tx.execute(insert(t.runs).values(id=run, number=index, created=0.0, **values))
    record = RunRecord.of(tx.rows(select(t.runs).where(t.runs.c.id == run))[0])
    before = versions.find_version(tx, model, parent)
    datasets = [*(before.datasets if before else []), dataset]
    manifest = {"method": "full", "weights_sha256": f"{number}" * 64, "base": {"sha256": "b" * 64}, "steps": 9}
    versions.publish(tx, record, manifest, datasets)


@pytest.fixture
def line(lab: Workspace, tx: Transaction) -> Transaction:
    line_for(tx, lab, ModelSpec())
    for number in (1, 2, 3):
        make_version(tx, number, number - 1 or None)
        versions.promote(tx, "main", number, "better")
    return tx


def champion(tx: Transaction) -> int | None:
    found = versions.champion(tx, "main")
    return found.version if found else None


def test_the_same_settings_continue_the_same_line(lab: Workspace, tx: Transaction) -> None:
    assert line_for(tx, lab, ModelSpec()).name == "main"
    assert line_for(tx, lab, ModelSpec()).name == "main"
    assert tx.events == []


def test_another_method_or_base_begins_a_new_line_and_says_so(lab: Workspace, tx: Transaction) -> None:
    line_for(tx, lab, ModelSpec())
    assert line_for(tx, lab, ModelSpec(method="lora")).name == "main-2"
    assert line_for(tx, lab, ModelSpec(base="org/model")).name == "main-3"
    assert line_for(tx, lab, ModelSpec(method="lora", lora_rank=8)).name == "main-4"
    assert [event.code for event in tx.events] == ["model.new-line"] * 3
    assert "a new model begins, main-2" in tx.events[0].text


def test_settings_that_return_continue_the_older_line(lab: Workspace, tx: Transaction) -> None:
    line_for(tx, lab, ModelSpec())
    line_for(tx, lab, ModelSpec(method="lora"))
    assert line_for(tx, lab, ModelSpec(method="full")).name == "main"


def test_a_base_is_tiny_a_folder_of_the_lab_or_a_hub_id(lab: Workspace) -> None:
    (lab.root / "mymodel").mkdir()
    assert base_ref(lab, ModelSpec()).folder == lab.bases / "tiny"
    assert base_ref(lab, ModelSpec(base="mymodel")).folder == lab.root / "mymodel"
    assert base_ref(lab, ModelSpec(base="./gone")).folder == lab.root / "./gone"
    assert base_ref(lab, ModelSpec(base="Qwen/Qwen3-0.6B", revision="abc")).folder is None


def test_rolling_back_goes_to_the_champion_before_again_and_again(line: Transaction) -> None:
    assert versions.rollback(line, "main").version == 2
    assert versions.rollback(line, "main").version == 1
    with pytest.raises(NotAllowed, match="no champion to go back to"):
        versions.rollback(line, "main")
    assert champion(line) == 1


def test_promoting_the_champion_again_changes_nothing(line: Transaction) -> None:
    before = len(line.events)
    versions.promote(line, "main", 3, "again")
    assert len(line.events) == before


def test_the_champion_a_pinned_version_and_the_last_copy_are_not_deleted(lab: Workspace, line: Transaction) -> None:
    with pytest.raises(NotAllowed, match="it is the champion"):
        versions.delete(line, "main", 3, is_confirmed=True)
    versions.pin(line, "main", 1, is_pinned=True)
    with pytest.raises(NotAllowed, match="it is pinned"):
        versions.delete(line, "main", 1, is_confirmed=True)
    line_for(line, lab, ModelSpec(name="other"))
    make_version(line, 1, None, "other")
    with pytest.raises(NotAllowed, match="the last version of other"):
        versions.delete(line, "other", 1, is_confirmed=True)


def test_deleting_needs_a_confirmation_and_then_takes_the_folder(lab: Workspace, line: Transaction) -> None:
    folder = lab.version("main", 2)
    folder.mkdir(parents=True)
    with pytest.raises(NotAllowed, match="needs a confirmation"):
        versions.delete(line, "main", 2, is_confirmed=False)
    versions.delete(line, "main", 2, is_confirmed=True)
    versions.retire_deleted(line, lab)
    assert not folder.exists()
    with pytest.raises(NotFound, match="it was deleted"):
        versions.promote(line, "main", 2, "no")


def test_a_version_that_a_run_continues_is_not_deleted(line: Transaction) -> None:
    values = {"job": "jr-main-1", "dataset": "dmain1", "state": "paused", "model": "main", "version": 9, "parent": 2}
    line.execute(insert(t.runs).values(id="r9", number=99, created=0.0, **values))
    with pytest.raises(NotAllowed, match="r9 continues it"):
        versions.delete(line, "main", 2, is_confirmed=True)


def test_a_deleted_champion_is_not_rolled_back_to(line: Transaction) -> None:
    versions.delete(line, "main", 2, is_confirmed=True)
    with pytest.raises(NotAllowed, match="still exists"):
        versions.rollback(line, "main")


def test_verifying_names_what_differs(lab: Workspace) -> None:
    folder = lab.version("main", 1)
    with publish_folder(folder, {"weights_sha256": "1" * 64}) as staging:
        (staging / "model.safetensors").write_bytes(b"coal")
    versions.verify(lab, "main", 1, "1" * 64)
    with pytest.raises(Damaged, match="the store recorded 2222"):
        versions.verify(lab, "main", 1, "2" * 64)
    (folder / "model.safetensors").write_bytes(b"cola")
    with pytest.raises(Damaged, match=r"model\.safetensors: its SHA-256 differs"):
        versions.verify(lab, "main", 1, "1" * 64)


def test_lineage_goes_back_to_the_base_and_replay_leaves_out_the_new(line: Transaction) -> None:
    newest = versions.get_version(line, "main", 3)
    assert [version.version for version in ancestors(line, newest)] == [2, 1]
    assert replay_datasets(newest, ["dmain2"]) == ["dmain1", "dmain3"]
    assert replay_datasets(None, ["dmain1"]) == []
