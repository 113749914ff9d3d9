"""stoker.toml: what is right is read as written, each mistake is named with key, rule and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.errors import SettingError
from stoker.spec.lab import LabSpec
from stoker.spec.presets import PRESETS
from stoker.spec.reading import origin, read_settings, read_toml


def settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "stoker.toml"
    path.write_text(text, "utf-8")
    return path


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert read_settings(settings(tmp_path, "")) == LabSpec()


def test_values_are_read_where_they_stand(tmp_path: Path) -> None:
    spec = read_settings(settings(tmp_path, '[train]\nepochs = 3\n[evaluate]\nguards = ["a", "b"]\n'))
    assert (spec.train.epochs, spec.evaluate.guards) == (3, ("a", "b"))


def test_a_preset_fills_what_is_not_set_and_nothing_else(tmp_path: Path) -> None:
    spec = read_settings(settings(tmp_path, '[train]\npreset = "thorough"\nepochs = 2\n'))
    assert spec.train.epochs == 2
    assert spec.train.replay == PRESETS["thorough"]["replay"]


def test_the_origin_of_each_value_is_known(tmp_path: Path) -> None:
    data = read_toml(settings(tmp_path, '[train]\npreset = "fast"\nepochs = 2\n'))
    keys = ("train.epochs", "train.replay", "train.seed", "model.base")
    assert [origin(data, key) for key in keys] == ["file", "preset", "default", "default"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[train]\nepochs = = 3\n", ["line 2", "column"]),
        ("[train\nepochs = 3\n", ["line 1"]),
        ("[train]\n\nepoch = 3\n", ["line 3", "train.epoch", "did you mean train.epochs"]),
        ("epochs = 3\n", ["line 1", "did you mean train.epochs", "[train]"]),
        ("[trian]\n", ["line 1", "trian", "did you mean [train]"]),
        ("[model]\nepochs = 3\n", ["model.epochs", "train.epochs"]),
        ("[train.more]\nx = 1\n", ["train.more", "not a setting"]),
        ("train = 3\n", ["train = 3", "[train]"]),
        ("[train]\nlearning_rate = 3.0\n", ["train.learning_rate = 3.0 is above 1.0", "1e-5 to 5e-4"]),
        ("[train]\nlearning_rate = nan\n", ["train.learning_rate = nan", "finite"]),
        ("[train]\nepochs = 0\n", ["train.epochs = 0 is below 1", "the default, 1"]),
        ("[train]\nepochs = true\n", ["train.epochs = true is not a whole number"]),
        ('[train]\nepochs = "3"\n', ['train.epochs = "3" is not a whole number']),
        ("[train]\nmax_length = -4\n", ["train.max_length = -4 is below 16"]),
        ('[train]\nmax_length = "autoo"\n', ["train.max_length", '"auto"']),
        ('[train]\npreset = "slow"\n', ["train.preset", '"fast", "balanced", "thorough"']),
        ('[model]\nname = "A B"\n', ["model.name", "lower-case"]),
        ("[evaluate]\nguards = 3\n", ["evaluate.guards = 3", "a list of text"]),
        ("train.epochs = 0\n", ["line 1", "train.epochs = 0"]),
        ("[train]\nepochs = 0\nseed = -1\n", ["1 more"]),
    ],
)
def test_a_mistake_names_key_rule_and_remedy(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(SettingError) as raised:
        read_settings(settings(tmp_path, text))
    assert "stoker.toml" in raised.value.what
    assert raised.value.remedy
    for part in parts:
        assert part in str(raised.value)


def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "stoker.toml"
    path.write_bytes(b"[model]\nbase = '\xff'\n")
    with pytest.raises(SettingError, match="line 2 is not UTF-8"):
        read_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="can't be read"):
        read_settings(tmp_path / "stoker.toml")
