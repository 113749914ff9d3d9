"""`stoker data map`: a proposal for unknown columns, a preview of the rows it makes, and saving it in the lab."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

from stoker.cli.add import check_file
from stoker.cli.console import note, print_json, say
from stoker.cli.lab import current_lab
from stoker.data.findings import RowProblem, excerpt
from stoker.data.formats.mapping import apply_mapping, parse_mapping, propose, save_mapping
from stoker.data.formats.recognise import convert, is_known_shape
from stoker.data.reading.readers import open_file, read_records
from stoker.errors import InvalidInput
from stoker.spec.jobs import ColumnMapping
from stoker.spec.reading import read_settings

_SAMPLE_ROWS = 50
_PREVIEW_ROWS = 3


def map_columns(file: Path, given: list[str], as_json: bool) -> None:
    """Propose a mapping for a file, or save the one that is given; InvalidInput when its rows don't come of it."""
    check_file(file)
    workspace = current_lab()
    records = _sample(file, workspace.settings)
    columns = sorted({name for record in records for name in record})
    mapping = parse_mapping(given, columns) if given else propose(records)
    if mapping is None:
        raise InvalidInput(
            f"no proposal for {file.name}: its columns are {', '.join(columns)}",
            "a question and an answer are text columns",
            "say it yourself: --map COLUMN=prompt,COLUMN=completion",
        )
    preview = [_preview(mapping, record) for record in records[:_PREVIEW_ROWS]]
    if given:
        if all("problem" in row for row in preview):
            raise InvalidInput(f"no row comes of it: {preview[0]['problem']}", "", "map other columns")
        save_mapping(workspace.mappings, mapping)
    if as_json:
        print_json(
            {"columns": list(mapping.columns), "fields": mapping.fields, "saved": bool(given), "preview": preview}
        )
        return
    _show(file, mapping, preview, is_saved=bool(given), is_known=is_known_shape(dict.fromkeys(columns)))


def _sample(file: Path, settings: Path) -> list[dict[str, Any]]:
    spec = read_settings(settings).intake
    with tempfile.TemporaryDirectory(prefix="stoker-map-") as scratch:
        sources = open_file(file, file.name, spec, Path(scratch)).sources
        found = itertools.chain.from_iterable(read_records(source, spec) for source in sources)
        rows = [record.value for record in itertools.islice(found, _SAMPLE_ROWS) if isinstance(record.value, dict)]
    if not rows:
        raise InvalidInput(f"{file.name} has no columns", "a mapping names columns", f"run: stoker data check {file}")
    return rows


def _preview(mapping: ColumnMapping, record: dict[str, Any]) -> dict[str, Any]:
    try:
        row, _ = convert(apply_mapping(mapping, record), 1)
    except (RowProblem, KeyError) as problem:
        return {"problem": str(problem)}
    return {"prompt": [turn["content"] for turn in row.prompt_messages()], "answer": row.answer()}


def _show(file: Path, mapping: ColumnMapping, preview: list[dict[str, Any]], *, is_saved: bool, is_known: bool) -> None:
    say(f"{file.name}: columns {', '.join(mapping.columns)}")
    for field, template in mapping.fields.items():
        say(f"  {field:<11} {template!r}")
    for row in preview:
        say()
        if "problem" in row:
            say(f"  not a row: {row['problem']}")
            continue
        for words in row["prompt"]:
            say(f"  prompt  {excerpt(words)}")
        say(f"  answer  {excerpt(row['answer'])}")
    if is_saved:
        note("saved; files with these columns are read so from now on")
        return
    if is_known:
        note("these columns are a known format already; a mapping would replace how they are read")
    options = " ".join(f"--map {_quoted(f'{template}={field}')}" for field, template in mapping.fields.items())
    note(f"a proposal, not saved; to save it: stoker data map {file} {options}")


def _quoted(words: str) -> str:
    return "$" + repr(words) if "\n" in words else f"'{words}'"
