"""init, config, doctor, add: the commands before the first run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.cli import doctor, run
from stoker.spec.reading import read_settings
from stoker.workspace import Workspace

Stoker = Callable[..., Any]


def test_init_makes_a_lab_that_reads(stoker: Stoker, tmp_path: Path) -> None:
    answer = stoker(
        "init", str(tmp_path / "lab"), "--base", "Qwen/Qwen3-0.6B", "--model-name", "orders", "--preset", "fast"
    )
    assert answer.code == 0
    workspace = Workspace(tmp_path / "lab")
    assert answer.out.strip() == str(workspace.root)
    spec = read_settings(workspace.settings)
    assert (spec.model.base, spec.model.name, spec.train.preset) == ("Qwen/Qwen3-0.6B", "orders", "fast")
    assert all(
        folder.is_dir() for folder in (workspace.inbox, workspace.benchmarks, workspace.reports, workspace.state)
    )
    assert workspace.state.stat().st_mode & 0o077 == 0


def test_init_refuses_a_lab_that_exists_and_leaves_it_alone(stoker: Stoker, lab: Workspace) -> None:
    before = lab.settings.read_bytes()
    answer = stoker("init", str(lab.root), "--base", "a/b")
    assert answer.code == 4
    assert lab.settings.read_bytes() == before


def test_init_takes_a_folder_that_has_other_files(stoker: Stoker, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert stoker("init", str(tmp_path)).code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_base_folder_is_checked_and_made_absolute(
    stoker: Stoker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    answer = stoker("init", "lab", "--base", "weights")
    assert answer.code == 5
    assert "config.json" in answer.err
    (tmp_path / "weights" / "config.json").write_text("{}")
    assert "safetensors" in stoker("init", "lab", "--base", "weights").err
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"")
    assert stoker("init", "lab", "--base", "weights").code == 0
    assert read_settings(tmp_path / "lab" / "stoker.toml").model.base == str(tmp_path / "weights")


@pytest.mark.parametrize("base", ["nowhere", "./nowhere", "/nowhere/at/all", "", "a/b/c"])
def test_a_base_that_is_not_there_is_refused(stoker: Stoker, tmp_path: Path, base: str) -> None:
    answer = stoker("init", str(tmp_path / "lab"), "--base", base)
    assert answer.code == 5
    assert not (tmp_path / "lab").exists()


def test_a_wrong_preset_makes_no_lab(stoker: Stoker, tmp_path: Path) -> None:
    answer = stoker("init", str(tmp_path / "lab"), "--preset", "slow")
    assert (answer.code, (tmp_path / "lab").exists()) == (5, False)


def test_config_shows_sets_and_explains(stoker: Stoker, lab: Workspace) -> None:
    assert stoker("config", "set", "train.epochs", "3").code == 0
    assert stoker("config", "show", "train.epochs", "--json").json() == {"train.epochs": {"value": 3, "from": "file"}}
    assert "train.epochs" in stoker("config", "show").out
    wrong = stoker("config", "set", "train.epochs", "0")
    assert wrong.code == 5
    assert "is below 1" in wrong.err
    assert stoker("config", "set", "train.epoch", "3").code == 3
    schema = stoker("config", "schema", "--json").json()
    assert {"key", "type", "default", "range", "description"} <= schema[0].keys()
    assert len(schema) == stoker("config", "schema").out.count(" = ")


def test_a_mistake_in_the_settings_is_said_by_every_reader(stoker: Stoker, lab: Workspace) -> None:
    lab.settings.write_text("[train]\nepochs = = 3\n")
    answer = stoker("config", "show")
    assert answer.code == 5
    assert "line 2" in answer.err
    found = {finding["name"]: finding for finding in stoker("doctor", "--json").json()}
    assert found["settings"]["state"] == "missing"


def test_doctor_says_what_is_here(stoker: Stoker, lab: Workspace) -> None:
    answer = stoker("doctor", "--json")
    assert answer.code == 0
    names = {finding["name"] for finding in answer.json()}
    assert {"python", "torch", "packages", "cpu", "sqlite", "disk", "lab"} <= names
    assert "sqlite" in stoker("doctor").out


def test_doctor_gives_the_line_that_installs_what_is_missing(
    stoker: Stoker, lab: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "peft":
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    answer = stoker("doctor")
    assert answer.code == 1
    assert "pip install 'peft>=" in answer.out


def test_doctor_warns_of_a_network_file_system(stoker: Stoker, lab: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "file_system", lambda folder: "nfs4")
    found = {finding["name"]: finding for finding in stoker("doctor", "--json").json()}
    assert found["file system"]["state"] == "warn"
    assert "force_polling" in found["file system"]["remedy"]


def test_add_copies_whole_files_and_overwrites_none(stoker: Stoker, lab: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("one\n")
    assert stoker("add", str(file)).code == 0
    file.write_text("two\n")
    assert stoker("add", str(file)).code == 0
    assert sorted(path.name for path in lab.inbox.iterdir()) == ["data-2.jsonl", "data.jsonl"]
    assert (lab.inbox / "data.jsonl").read_text() == "one\n"


def test_add_takes_nothing_when_one_file_is_missing(stoker: Stoker, lab: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text("one\n")
    answer = stoker("add", str(file), str(tmp_path / "nope.jsonl"))
    assert answer.code == 3
    assert list(lab.inbox.iterdir()) == []
    assert stoker("add", str(tmp_path)).code == 5


def test_a_defect_shows_no_traceback_unless_asked(
    stoker: Stoker, lab: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("stoker.spec.reading.read_toml", broken)
    answer = stoker("config", "show")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert "STOKER_DEBUG=1" in answer.err
    monkeypatch.setenv("STOKER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["config", "show"])


def test_ctrl_c_ends_with_130(stoker: Stoker, lab: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stoker.spec.reading.read_toml", interrupted)
    assert stoker("config", "show").code == 130


def test_a_reader_that_goes_away_is_not_shouted_at(stoker: Stoker, lab: Workspace) -> None:
    command = f"{sys.executable} -m stoker config schema | head -n 2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[lab]", "")
