"""What `stoker data check` shows: the score, what it costs, and the findings with file and line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.add import check_file as require_file
from stoker.cli.console import print_facts, print_table, say
from stoker.cli.lab import current_lab, open_reader
from stoker.errors import NotFound
from stoker.spec.jobs import DatasetRef
from stoker.spec.lab import LabSpec
from stoker.spec.reading import read_settings
from stoker.workspace import Workspace

if TYPE_CHECKING:
    from stoker.data.dataset import Dataset

_FIELDS = ("name", "format", "rows_in", "train", "held_out", "duplicate", "quarantined", "preference_rows")
_JUDGED = ("score", "gate", "deductions", "findings", "finding_counts", "tokens", "notes")
_SHOWN = 30


def checked(what: str) -> dict[str, Any]:
    """Return the check of a file (inside a lab or not), or that of a dataset of the lab."""
    path = Path(what)
    if path.exists():
        return _of_file(path)
    return _chosen(open_dataset(what).summary)


def print_check(found: dict[str, Any]) -> None:
    """Print the score, the deductions and the findings, the worst first."""
    gate = {"pass": "it trains", "warn": "it trains, with a warning", "stop": "it waits for a person"}[found["gate"]]
    if found["format"] is None:
        gate = "it is refused"
    facts = [
        ("file", found["name"]),
        ("format", found["format"] or "none"),
        ("rows in", units.count(found["rows_in"])),
        ("score", f"{found['score']} of 100: {gate}"),
    ]
    print_facts(facts)
    if found["tokens"]:
        say(_lengths(found["tokens"]))
    for line in found["notes"]:
        say(f"note  {line}")
    if found["deductions"]:
        say()
        rows = [
            (one["code"], f"-{one['points']:g}", units.count(one["rows"]), f"{one['share']:.1%}", one["title"])
            for one in found["deductions"]
        ]
        print_table(("costs", "points", "rows", "share", "what"), rows, numbers=("points", "rows", "share"))
    if found["findings"]:
        say()
        lines = [
            (
                one["severity"],
                one["code"],
                place(one["line"], one["file"].removeprefix(found["name"]).removeprefix(": ")),
                " ".join(one["excerpt"].split())[:80],
            )
            for one in found["findings"][:_SHOWN]
        ]
        print_table(("severity", "code", "line", "found"), lines, numbers=("line",))
        remedies = {one["code"]: one["remedy"] for one in found["findings"][:_SHOWN]}
        say()
        for code, remedy in remedies.items():
            say(f"{code}: {remedy}")


def place(line: int | None, member: str = "") -> str:
    """Return where a row stands: its line, after its file where several were taken together."""
    return ("-" if line is None else str(line)) if not member else f"{member}:{line}"


def _lengths(tokens: dict[str, Any]) -> str:
    """Say how long rows are and how many each max_length would lose, up to the first that loses none."""
    quantiles, parts = tokens["quantiles"], []
    for limit, lost in tokens["lost"]:
        parts.append(f"{units.count(limit)}: {units.count(lost)}")
        if not lost:
            break
    return (
        f"tokens  median {units.count(quantiles['p50'])}, 99 % within {units.count(quantiles['p99'])}, longest "
        f"{units.count(quantiles['max'])}; rows lost by a max_length of {'; '.join(parts)}"
    )


def _of_file(path: Path) -> dict[str, Any]:
    with file_aside(path) as (summary, _):
        return _chosen(summary)


@contextlib.contextmanager
def file_aside(path: Path) -> Iterator[tuple[dict[str, Any], DatasetRef]]:
    """Read a file without taking it, inside a lab or not; give its summary and, until the block ends, its dataset."""
    from stoker.supervisor.checking import read_aside

    require_file(path)
    path = path.absolute()
    try:
        workspace = current_lab()
    except NotFound:
        with read_aside(path, LabSpec(), None, ()) as read:
            yield read
    else:
        with read_aside(path, read_settings(workspace.settings), workspace, _earlier(workspace)) as read:
            yield read


def _earlier(workspace: Workspace) -> tuple[DatasetRef, ...]:
    found = open_reader().datasets() if workspace.store.exists() else []
    folders = [(one, workspace.dataset(one["id"])) for one in found]
    return tuple(
        DatasetRef(id=one["id"], folder=folder, name=one["name"], is_rolled_back=one["standing"] == "rolled-back")
        for one, folder in folders
        if (folder / "dataset.json").is_file()
    )


def open_dataset(reference: str) -> Dataset:
    """Return a dataset of the lab that holds rows; NotFound for another."""
    from stoker.data.dataset import Dataset

    dataset_id = open_reader().resolve("dataset", reference)
    found = Dataset(current_lab().dataset(dataset_id))
    if not (found.folder / "dataset.json").is_file():
        why = "it was rejected or is not read yet"
        raise NotFound(f"{dataset_id} holds no rows", why, f"run: stoker data show {dataset_id}")
    return found


def _chosen(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: summary.get(key) for key in (*_FIELDS, *_JUDGED)}
