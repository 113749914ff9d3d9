"""The task that shows rows: it reads the base's tokenizer, or makes the one that a tiny base would get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from train_lab import make_dataset, messages

from stoker.data.dataset import Dataset
from stoker.errors import WorkerExit
from stoker.model.load import load_tokenizer
from stoker.model.resident import Resident
from stoker.model.tiny import ensure_tiny
from stoker.model.tokenizing import encode_rows
from stoker.spec.jobs import JOB, BaseRef, DatasetRef, PreviewJob
from stoker.spec.lab import TrainSpec
from stoker.worker.tasks import work_on


def preview(lab: Path, base: BaseRef, dataset: DatasetRef, **train: Any) -> tuple[WorkerExit, list[dict[str, Any]]]:
    rows = Dataset(dataset.folder).train_rows()[:5]
    job = PreviewJob(base=base, dataset=dataset, rows=tuple(row.to_json() for row in rows), train=TrainSpec(**train))
    folder = lab / "tasks" / f"preview-{len(list(lab.glob('tasks/*')))}"
    folder.mkdir(parents=True)
    (folder / JOB).write_text(job.model_dump_json())
    return work_on(folder, Resident()), messages(folder)


def test_a_tiny_base_that_is_not_made_yet_is_shown_as_this_file_would_make_it(tmp_path: Path) -> None:
    dataset, folder = make_dataset(tmp_path, 1), tmp_path / "bases" / "tiny"
    exit, told = preview(tmp_path, BaseRef(name="tiny", folder=folder), dataset, max_length=300)
    assert exit is WorkerExit.DONE and not folder.exists(), "a look makes nothing in the lab"
    result = next(message for message in told if message["kind"] == "result")
    assert (result["is_provisional"], result["max_length"], result["base"]) == (True, 300, "tiny")
    assert "<|im_end|>" in result["special_tokens"]
    ensure_tiny(folder, Dataset(dataset.folder).train_rows(), TrainSpec().seed)
    again = preview(tmp_path, BaseRef(name="tiny", folder=folder), dataset)[1]
    assert [message["is_provisional"] for message in again if message["kind"] == "result"] == [False]
    shown = [[message["row"] for message in some if message["kind"] == "row"] for some in (told, again)]
    assert shown[0] == shown[1] and len(shown[0]) == 5
    sequences = encode_rows(Dataset(dataset.folder).train_rows()[:5], load_tokenizer(folder))
    assert [one["sequences"][0]["num_tokens"] for one in shown[1]] == [len(one) for (one,) in sequences]


def test_weights_are_neither_needed_nor_read(tmp_path: Path, tiny_base: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for path in tiny_base.iterdir():
        if path.suffix in (".json", ".jinja") and path.name != "manifest.json":
            (folder / path.name).write_bytes(path.read_bytes())
    exit, told = preview(tmp_path, BaseRef(name=str(folder), folder=folder), make_dataset(tmp_path, 1))
    assert exit is WorkerExit.DONE and len([message for message in told if message["kind"] == "row"]) == 5


@pytest.mark.parametrize(
    ("missing", "words"), [("tokenizer.json", "no tokenizer"), ("chat_template.jinja", "no chat template")]
)
def test_a_base_that_cannot_render_says_so(tmp_path: Path, tiny_base: Path, missing: str, words: str) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for path in tiny_base.iterdir():
        if path.name not in (missing, "manifest.json", "model.safetensors"):
            (folder / path.name).write_bytes(path.read_bytes())
    exit, told = preview(tmp_path, BaseRef(name=str(folder), folder=folder), make_dataset(tmp_path, 1))
    assert exit is WorkerExit.BAD_CONFIG and words in told[-1]["what"] and told[-1]["remedy"]
