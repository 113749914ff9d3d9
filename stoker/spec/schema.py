"""Every key of `stoker.toml` with its type, default, range and description, read off the specs themselves."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import orjson

from stoker.spec.lab import LabSpec


@dataclass(frozen=True)
class Setting:
    """One key. `range` is "" where any value of the type will do; units are in the name or the description."""

    key: str
    type: str
    default: Any
    range: str
    description: str

    @property
    def default_toml(self) -> str:
        """The default as it would be written in the file."""
        return orjson.dumps(self.default).decode()

    @property
    def rule(self) -> str:
        return f"{self.type}, {self.range}" if self.range else self.type


@functools.cache
def list_settings() -> tuple[Setting, ...]:
    """Return every setting in the order of the file's sections."""
    schema = LabSpec.model_json_schema()
    settings = []
    for section in schema["properties"]:
        definition = schema["$defs"][LabSpec.model_fields[section].default.__class__.__name__]
        for name, field in definition["properties"].items():
            settings.append(_setting(f"{section}.{name}", field))
    return tuple(settings)


def find_setting(key: str) -> Setting | None:
    return next((setting for setting in list_settings() if setting.key == key), None)


def table_entry(key: str) -> tuple[Setting, str] | None:
    """Return the setting and the entry that a key such as "alerts.channels.phone" means, or None."""
    parent, _, entry = key.rpartition(".")
    setting = find_setting(parent)
    return (setting, entry) if setting is not None and setting.type == "a table of text" and entry else None


def section_title(section: str) -> str:
    """Return what a section is about, from its spec's docstring."""
    words = (LabSpec.model_fields[section].default.__class__.__doc__ or "").strip()
    return words.partition(": ")[2].splitlines()[0]


def _setting(key: str, field: dict[str, Any]) -> Setting:
    members = field.get("anyOf", [field])
    ranges = [text for member in members if (text := _range(member))]
    return Setting(
        key=key,
        type=" or ".join(_type(member) for member in members),
        default=field["default"],
        range=", ".join(ranges),
        description=field.get("description", ""),
    )


def _type(member: dict[str, Any]) -> str:
    if "const" in member:
        return f'"{member["const"]}"'
    if "enum" in member:
        return "one of " + ", ".join(f'"{value}"' for value in member["enum"])
    names = {
        "integer": "a whole number", "number": "a number", "string": "text",
        "boolean": "true or false", "array": "a list of text", "object": "a table of text",
    }  # fmt: skip
    if "$ref" in member.get("items", {}):
        return "a list of tables"
    return names[member["type"]]


def _range(member: dict[str, Any]) -> str:
    low, above = member.get("minimum"), member.get("exclusiveMinimum")
    high, below = member.get("maximum"), member.get("exclusiveMaximum")
    parts = []
    if low is not None:
        parts.append(f"at least {low:g}")
    if above is not None:
        parts.append(f"above {above:g}")
    if high is not None:
        parts.append(f"at most {high:,}" if isinstance(high, int) and high > 99_999 else f"at most {high:g}")
    if below is not None:
        parts.append(f"below {below:,}" if isinstance(below, int) and below > 99_999 else f"below {below:g}")
    return " and ".join(parts)
