"""Reads `stoker.toml` into a LabSpec; every mistake in it is one SettingError with key, rule and remedy.

Values are checked strictly, as TOML types them: `epochs = true` and `epochs = "3"` are errors, a whole number is
fine where a number is asked. Writing is in spec/writing, the words of the messages in spec/explain.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stoker.errors import SettingError
from stoker.spec.explain import explain
from stoker.spec.lab import LabSpec
from stoker.spec.presets import PRESETS


def read_settings(path: Path) -> LabSpec:
    """Return the lab's settings; SettingError names the file, the line or key, the rule and the remedy."""
    return check_settings(read_toml(path), path)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the keys that the file itself sets, unchecked."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingError(f"{path} can't be read: {error.strerror}", "", f"run: ls -l {path}") from None
    return parse_toml(data, path)


def parse_toml(data: bytes, path: Path) -> dict[str, Any]:
    """Parse TOML; a syntax error names its line."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{path} line {line} is not UTF-8", "TOML is UTF-8 text", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).partition(" (at ")
        line_column = where.removesuffix(")") or "end of file"
        raise SettingError(
            f"{path} is not TOML at {line_column}: {what[:1].lower()}{what[1:]}",
            'a key looks like: epochs = 3, text is quoted: base = "tiny"',
            "mend that line",
        ) from None


def check_settings(data: Mapping[str, Any], path: Path | None = None) -> LabSpec:
    """Check parsed settings; the first mistake is raised, the number of the others said."""
    try:
        return LabSpec.model_validate(_with_tuples(data), strict=True)
    except ValidationError as error:
        raise explain(error, data, path) from None


def origin(data: Mapping[str, Any], key: str) -> str:
    """Tell where the value of `key` ("train.epochs") comes from: "file", "preset" or "default"."""
    section, name = key.split(".", 1)
    given = data.get(section, {})
    if name in given:
        return "file"
    if section == "train" and name in PRESETS.get(str(given.get("preset", "balanced")), {}):
        return "preset"
    return "default"


def _with_tuples(value: Any) -> Any:
    """Lists as tuples: pydantic's strict mode takes no list for a tuple, and TOML knows only lists."""
    if isinstance(value, Mapping):
        return {str(key): _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_with_tuples(item) for item in value)
    return value
