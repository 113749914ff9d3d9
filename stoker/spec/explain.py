"""Turns a failed check of the settings into words: which key, which rule, what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stoker.errors import SettingError
from stoker.spec.lab import LabSpec
from stoker.spec.schema import Setting, find_setting, list_settings

_NAME_RULE = "a name has lower-case letters, digits, '.', '_' and '-', at most 64 of them"
_ALL_KEYS = "`stoker config schema` lists every key"
_TYPE_ERRORS_OF_OTHER_MEMBERS = ("literal_error", "int_type", "float_type", "string_type", "tuple_type")


def explain(error: ValidationError, data: Mapping[str, Any], path: Path | None) -> SettingError:
    """Return the first mistake in words; unknown keys go first, since they often explain the rest."""
    mistakes: dict[str, Any] = {}
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in item["loc"][:2])
        known = mistakes.get(key)
        if known is None or known["type"] in _TYPE_ERRORS_OF_OTHER_MEMBERS:
            mistakes[key] = item
    key, item = min(mistakes.items(), key=lambda pair: pair[1]["type"] != "extra_forbidden")
    what, why, remedy = _words(key, item, data)
    where = _place(path, key)
    more = f" ({len(mistakes) - 1} more after this one)" if len(mistakes) > 1 else ""
    return SettingError(f"{where}{what}{more}", why, remedy)


def _words(key: str, item: Any, data: Mapping[str, Any]) -> tuple[str, str, str]:
    if item["type"] == "told":  # a validator that put its mistake into words itself
        facts = item["ctx"]
        return facts["what"], facts["why"], facts["remedy"]
    setting = find_setting(key)
    if setting is not None and len(item["loc"]) > 2 and setting.type == "a list of tables":
        return _words_within(item, setting)
    if item["type"] == "extra_forbidden":
        return f"{key} is not a setting", "nothing would read it", nearest(key)
    value = _value_at(data, key)
    if setting is None:
        return f"{key} = {value!r} is not a section", "settings live in sections", f"write [{key}] on a line of its own"
    remedy = f"leave it out for the default, {setting.default_toml}; it means: {setting.description}"
    if item["type"] == "string_pattern_mismatch":
        return f"{key} = {_shown(value)} is not a name", _NAME_RULE, remedy
    why = f"it must be {setting.rule}" if setting.range else ""
    if setting.type == "a table of text":  # its values are secrets
        return f"{key} {_rule_broken(item, setting)}", 'write: name = "value"', remedy
    return f"{key} = {_shown(value)} {_rule_broken(item, setting)}", why, remedy


def _words_within(item: Any, setting: Setting) -> tuple[str, str, str]:
    """Tell a mistake inside a list of tables: which table, which of its keys."""
    section, name, index, *rest = item["loc"]
    where = f"{section}.{name}, number {int(index) + 1}"
    inner = ".".join(str(part) for part in rest[:1])
    if item["type"] == "extra_forbidden":
        return f"{where}: {inner} is not a key of it", "nothing would read it", setting.description
    if item["type"] == "missing":
        return f"{where}: {inner} is missing", "", setting.description
    return f"{where}: {inner or 'it'} is wrong: {item['msg'][:1].lower()}{item['msg'][1:]}", "", setting.description


def _rule_broken(item: Any, setting: Setting) -> str:
    limits = item.get("ctx", {})
    match item["type"]:
        case "less_than_equal":
            return f"is above {limits['le']}"
        case "less_than":
            return f"is not below {limits['lt']}"
        case "greater_than_equal":
            return f"is below {limits['ge']}"
        case "greater_than":
            return f"is not above {limits['gt']}"
        case "finite_number":
            return "is not a finite number"
        case "value_error":
            return str(limits["error"])
        case _:
            return f"is not {setting.type}"


def nearest(key: str) -> str:
    """Return the remedy for a key that does not exist: the nearest one that does."""
    sections = list(LabSpec.model_fields)
    known = [setting.key for setting in list_settings()]
    if "." not in key:
        by_name = [name for name in known if name.partition(".")[2] == key]
        close = difflib.get_close_matches(key, sections, n=1, cutoff=0.5)
        if by_name:
            return f"did you mean {by_name[0]}? write it below [{by_name[0].partition('.')[0]}]"
        return f"did you mean [{close[0]}]? {_ALL_KEYS}" if close else _ALL_KEYS
    section, name = key.split(".", 1)
    elsewhere = [known_key for known_key in known if known_key.partition(".")[2] == name]
    names = [known_key.partition(".")[2] for known_key in known if known_key.startswith(section + ".")]
    close = elsewhere or [f"{section}.{match}" for match in difflib.get_close_matches(name, names, n=1, cutoff=0.6)]
    close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}? {_ALL_KEYS}" if close else _ALL_KEYS


def _place(path: Path | None, key: str) -> str:
    """Return "stoker.toml line 7: ", or "" when there is no file or the key is not found in it."""
    if path is None or not path.is_file():
        return ""
    section, _, name = key.partition(".")
    current = ""
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            current = header[1]
            if not name and current == section:
                return f"{path.name} line {number}: "
        elif assignment := re.match(r"\s*([\w.\"' -]+?)\s*=", line):
            written = assignment[1].replace('"', "").replace("'", "").replace(" ", "")
            if f"{current}.{written}".lstrip(".") == key:
                return f"{path.name} line {number}: "
    return f"{path.name}: "


def _value_at(data: Mapping[str, Any], key: str) -> Any:
    value: Any = data
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
