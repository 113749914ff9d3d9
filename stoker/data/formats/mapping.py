"""Columns of a file that are in no known format, named as fields of one that is.

A mapping belongs to a set of column names: tomorrow's file with the same columns uses it by itself. What a field gets is a
column, or a template such as "{title}\\n{body}". `propose` guesses; nothing is trained on a guess, a person saves it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from stoker.data.findings import RowProblem
from stoker.data.formats.recognise import is_known_shape
from stoker.durable import write_json
from stoker.errors import InvalidInput
from stoker.spec.jobs import ColumnMapping

FIELDS = ("prompt", "completion", "system", "text", "messages", "conversations", "tools", "chosen", "rejected", "label")
_COLUMN = re.compile(r"\{([^{}]+)\}")
_ANSWER_NAMES = re.compile(
    r"answer|reply|response|output|label|category|class|target|summary|translation|solution|body", re.I
)
_ID_NAMES = re.compile(r"(^|_)(id|uuid|index|idx|date|time|timestamp|created|updated|url|source)($|_)", re.I)
_SAMPLE_ROWS = 50


def parse_mapping(words: Sequence[str], columns: Sequence[str]) -> ColumnMapping:
    """Return the mapping that "COLUMN=FIELD,COLUMN=FIELD" or "TEMPLATE=FIELD" words say; InvalidInput when they can't be."""
    fields: dict[str, str] = {}
    for word in _split(words):
        source, _, field = word.rpartition("=")
        field = field.strip()
        if not source or field not in FIELDS:
            raise InvalidInput(
                f"{word!r} is no mapping",
                f"write COLUMN=FIELD; fields: {', '.join(FIELDS)}",
                "for example reply=completion",
            )
        if field in fields:
            raise InvalidInput(
                f"{field} is given twice", "a field has one source", 'join columns with a template: "{a}\\n{b}"'
            )
        fields[field] = source if _COLUMN.search(source) else "{" + source.strip() + "}"
    unknown = sorted({name for template in fields.values() for name in _COLUMN.findall(template)} - set(columns))
    if unknown:
        raise InvalidInput(f"no column {', '.join(unknown)}", f"the file has: {', '.join(columns)}", "check the names")
    if not is_known_shape(dict.fromkeys(fields, "")):
        raise InvalidInput(
            f"{', '.join(fields)} alone make no row",
            "a row is prompt and completion, text, messages, or a pair",
            "map the rest",
        )
    return ColumnMapping(columns=tuple(sorted(columns)), fields=fields)


def apply_mapping(mapping: ColumnMapping, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record's fields; RowProblem when a template needs a value that is no text."""
    return {field: _filled(template, record) for field, template in mapping.fields.items()}


def mapping_for(record: Mapping[str, Any], mappings: Mapping[tuple[str, ...], ColumnMapping]) -> ColumnMapping | None:
    """Return the mapping saved for exactly these columns."""
    return mappings.get(tuple(sorted(record))) if mappings else None


def propose(records: Sequence[Mapping[str, Any]]) -> ColumnMapping | None:
    """Guess which column asks and which answers, from names and lengths; None when there are not two text columns."""
    sample = [record for record in records if isinstance(record, Mapping)][:_SAMPLE_ROWS]
    columns = sorted({name for record in sample for name in record})
    texts = [name for name in columns if not _ID_NAMES.search(name) and _is_text(name, sample)]
    if len(texts) < 2:
        return None
    answers = [name for name in texts if _ANSWER_NAMES.search(name)]
    answer = answers[-1] if answers else max(texts, key=lambda name: _mean_chars(name, sample))
    prompts = [name for name in texts if name != answer]
    template = "\n".join("{" + name + "}" for name in prompts)
    return ColumnMapping(columns=tuple(columns), fields={"prompt": template, "completion": "{" + answer + "}"})


def load_mappings(path: Path) -> tuple[ColumnMapping, ...]:
    """Return the mappings saved in a lab."""
    if not path.exists():
        return ()
    return tuple(ColumnMapping.model_validate(record) for record in orjson.loads(path.read_bytes()))


def save_mapping(path: Path, mapping: ColumnMapping) -> None:
    """Save a mapping; one for the same columns is replaced."""
    others = [one for one in load_mappings(path) if one.columns != mapping.columns]
    write_json(path, [one.model_dump(mode="json") for one in (*others, mapping)])


def _split(words: Sequence[str]) -> list[str]:
    """Split at commas, but not inside a template."""
    parts = [part for word in words for part in ([word] if _COLUMN.search(word) else word.split(","))]
    return [part for part in parts if part.strip()]


def _filled(template: str, record: Mapping[str, Any]) -> Any:
    names = _COLUMN.findall(template)
    if template == "{" + names[0] + "}":
        return record[names[0]]
    return _COLUMN.sub(lambda match: _words(match[1], record[match[1]]), template)


def _words(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise RowProblem("wrong-type", f"column {name} is a {type(value).__name__}, and a template joins text")


def _is_text(name: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    values = [record.get(name) for record in sample]
    return sum(isinstance(value, str) and any(map(str.isalpha, value)) for value in values) > 0.5 * len(values)


def _mean_chars(name: str, sample: Sequence[Mapping[str, Any]]) -> float:
    return sum(len(str(record.get(name) or "")) for record in sample) / max(1, len(sample))
