"""Writing stoker.toml: comments stay, nothing wrong is ever written."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.errors import NotFound, SettingError
from stoker.spec.lab import LabSpec
from stoker.spec.reading import read_settings
from stoker.spec.schema import list_settings
from stoker.spec.writing import new_settings, set_value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "stoker.toml"
    path.write_bytes(new_settings(base="tiny", model_name="main", preset="balanced"))
    return path


def test_a_new_file_reads_back_as_the_defaults(path: Path) -> None:
    assert read_settings(path) == LabSpec()


def test_a_base_with_quotes_and_backslashes_survives(tmp_path: Path) -> None:
    path = tmp_path / "stoker.toml"
    path.write_bytes(new_settings(base='C:\\a "b"\n', model_name="main", preset="fast"))
    assert read_settings(path).model.base == 'C:\\a "b"\n'


def test_setting_a_value_keeps_every_comment(path: Path) -> None:
    before = path.read_text("utf-8")
    spec = set_value(path, "train.epochs", "3")
    after = path.read_text("utf-8")
    assert spec.train.epochs == 3 == read_settings(path).train.epochs
    assert [line for line in before.splitlines() if "#" in line] == [line for line in after.splitlines() if "#" in line]
    set_value(path, "train.epochs", "4")
    assert path.read_text("utf-8") == after.replace("epochs = 3", "epochs = 4")


def test_a_section_that_is_not_there_yet_is_added(path: Path) -> None:
    assert set_value(path, "worker.max_attempts", "7") == read_settings(path)
    assert read_settings(path).worker.max_attempts == 7


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model.revision", "123", "123"),
        ("model.base", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("train.learning_rate", "auto", "auto"),
        ("train.learning_rate", "2e-4", 2e-4),
        ("intake.force_polling", "true", True),
        ("evaluate.guards", "a, b", ("a", "b")),
        ("evaluate.guards", '["a"]', ("a",)),
        ("model.lora_targets", "all-linear", "all-linear"),
        ("model.lora_targets", "q_proj,k_proj", ("q_proj", "k_proj")),
    ],
)
def test_words_typed_on_a_command_line_become_the_right_type(path: Path, key: str, text: str, value: object) -> None:
    set_value(path, key, text)
    section, name = key.split(".")
    assert getattr(getattr(read_settings(path), section), name) == value


@pytest.mark.parametrize("text", ["0", "x", "1.5", "true", "101"])
def test_a_value_that_breaks_a_rule_changes_nothing(path: Path, text: str) -> None:
    before = path.read_bytes()
    with pytest.raises(SettingError, match=r"train\.epochs"):
        set_value(path, "train.epochs", text)
    assert path.read_bytes() == before


def test_an_unknown_key_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(NotFound, match=r"did you mean train\.epochs"):
        set_value(path, "train.epoch", "3")
    assert path.read_bytes() == before


def test_every_setting_has_a_description_a_type_and_a_default() -> None:
    settings = list_settings()
    assert len({setting.key for setting in settings}) == len(settings) > 40
    for setting in settings:
        assert setting.description.endswith("."), setting.key
        assert setting.type, setting.key


def test_every_default_can_be_written_and_read_back(path: Path) -> None:
    for setting in list_settings():
        set_value(path, setting.key, setting.default_toml)
    assert read_settings(path) == LabSpec()
