"""Which tokenizer rows are measured with when a file comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from stoker.registry.lines import tokenizer_ref
from stoker.spec.lab import LabSpec, ModelSpec, TrainSpec
from stoker.workspace import Workspace


def spec(base: str, revision: str = "main") -> LabSpec:
    return LabSpec(model=ModelSpec(base=base, revision=revision), train=TrainSpec(max_length=99))


def test_a_folder_and_tiny_are_measured_with_once_they_are_there(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert tokenizer_ref(workspace, spec("tiny")).folder is None
    for base, folder in (("tiny", workspace.bases / "tiny"), ("./base", tmp_path / "base")):
        folder.mkdir(parents=True)
        (folder / "tokenizer.json").write_text("{}")
        found = tokenizer_ref(workspace, spec(base))
        assert found.folder is not None and found.folder.samefile(folder)
        assert (found.name, found.max_length) == (base, 99)


def test_a_downloaded_base_is_found_and_none_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    workspace = Workspace(tmp_path)
    assert tokenizer_ref(workspace, spec("some/model")).folder is None
    cached = tmp_path / "hub" / "models--some--model"
    snapshot = cached / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123")
    assert tokenizer_ref(workspace, spec("some/model")).folder == snapshot
    assert tokenizer_ref(workspace, spec("some/model", "abc123")).folder == snapshot
    assert tokenizer_ref(workspace, spec("some/model", "other")).folder is None
