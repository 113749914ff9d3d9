"""Writes `stoker.toml`: sparse, commented, made for people. Comments and order survive every change."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from stoker.durable import write_atomic
from stoker.errors import NotFound, SettingError
from stoker.spec.explain import nearest
from stoker.spec.lab import LabSpec
from stoker.spec.reading import check_settings, parse_toml
from stoker.spec.schema import find_setting, table_entry

_HEADER = """\
# The settings of this lab. Sparse on purpose: a key that is not here has its default.
# `stoker config schema` lists every key with its default, unit and range; `stoker config show` what is in force.
"""


def set_value(path: Path, key: str, text: str) -> LabSpec:
    """Set `key` ("train.epochs") to `text` as typed by a person; the file changes only if the whole of it checks."""
    entry = table_entry(key)
    setting = entry[0] if entry else find_setting(key)
    if setting is None:
        raise NotFound(f"{key} is not a setting", "nothing would read it", nearest(key))
    before = path.read_bytes()
    parse_toml(before, path)
    first_error: SettingError | None = None
    for value in _readings(text, "" if entry else setting.type):
        document = tomlkit.parse(before.decode("utf-8"))
        section, name = setting.key.split(".", 1)
        if section not in document:
            document.add(tomlkit.nl())
            document.add(section, tomlkit.table())
        table = document[section]
        if not isinstance(table, Table):
            raise SettingError(
                f"{path.name}: {section} is not a section", "", f"write [{section}] on a line of its own"
            )
        if entry is None:
            table[name] = value
        elif name in table:
            table[name][entry[1]] = value
        else:
            table[name] = tomlkit.inline_table().append(entry[1], value)
        try:
            spec = check_settings(document.unwrap())
        except SettingError as error:
            first_error = first_error or error
            continue
        write_atomic(path, tomlkit.dumps(document).encode())
        return spec
    assert first_error is not None
    raise first_error


def new_settings(*, base: str, model_name: str, preset: str) -> bytes:
    """Return the text of a new lab's file; SettingError when a value breaks a rule."""
    check_settings({"model": {"base": base, "name": model_name}, "train": {"preset": preset}})
    document = tomlkit.parse(_HEADER)
    model = tomlkit.table()
    model.add("base", _commented(base, 'a hub id, a model folder, or "tiny"'))
    model.add("name", _commented(model_name, "the line of versions that files continue"))
    model.add(tomlkit.comment('method = "auto"        # auto | full | lora | qlora'))
    train = tomlkit.table()
    train.add("preset", _commented(preset, "fast | balanced | thorough; any key below overrides it"))
    train.add(tomlkit.comment("epochs = 1             # how often each new row is trained, exactly"))
    train.add(tomlkit.comment("replay = 0.5           # earlier rows mixed in, so that the old is not forgotten"))
    evaluate = tomlkit.table()
    evaluate.add("target", _commented("heldout", "what a version must win on: heldout, or a benchmark's name"))
    evaluate.add(tomlkit.comment('guards = []            # benchmarks it must not lose on, as in ["syllo-easy"]'))
    for name, table in (("model", model), ("train", train), ("evaluate", evaluate)):
        document.add(tomlkit.nl())
        document.add(name, table)
    return tomlkit.dumps(document).encode()


def _commented(value: str, comment: str) -> Any:
    item = tomlkit.string(value)
    item.comment(comment)
    return item


def _readings(text: str, type_words: str) -> list[Any]:
    """Return what `text` may mean, most likely first: a TOML value, a comma-separated list, plain text."""
    readings: list[Any] = []
    with contextlib.suppress(tomllib.TOMLDecodeError):
        readings.append(tomllib.loads(f"value = {text}")["value"])
    if type_words == "a list of text" or ("a list of text" in type_words and "," in text):
        readings.append([part.strip() for part in text.split(",") if part.strip()])
    readings.append(text)
    return readings
