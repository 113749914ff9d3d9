"""`stoker data versions` and `stoker data rollback`: what came of a file over time, and going back to what it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, Yes, confirm, note, print_json, print_table, say
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.errors import NotFound

if TYPE_CHECKING:
    from stoker.data.dataset import Dataset
    from stoker.store.reader import Reader

_DIFFERENCES = ("added", "removed", "changed")


def versions(
    what: Annotated[
        str,
        typer.Argument(
            metavar="[NAME|ID]", help="A file's name or a dataset; default: every file with several versions."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List the versions of a file, oldest first: what each added, removed and changed, and which one is current."""
    reader = open_reader()
    families = reader.families()
    if what:
        families = [_chosen(reader, families, what)]
    else:
        families = [family for family in families if len(family["versions"]) > 1]
    for family in families:
        _compare(reader, family["versions"])
    if as_json:
        print_json(families)
        return
    for number, family in enumerate(families):
        if number:
            say()
        _print_family(family)
    if not families:
        note("every file has one version; a file of the same name, or stoker add FILE --replaces ID, makes a second")


def rollback(
    dataset: Annotated[
        str, typer.Argument(metavar="ID", help="The version to make current: a dataset's id or prefix.")
    ],
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version current again; later ones no longer train. Rolling forward to a later one undoes it."""
    reader = open_reader()
    plan = reader.rollback_plan(reader.resolve("dataset", dataset))
    if dry_run:
        if as_json:
            print_json(plan)
        else:
            _print_plan(reader, plan)
        return
    if not as_json:
        _print_plan(reader, plan)
    confirm(f"make {plan['current']} current?", yes)
    reply = ask_supervisor(current_lab(), "data.rollback", dataset=plan["current"])
    if as_json:
        print_json(reply)
    else:
        note(f"{plan['current']} is current")


def lineage_facts(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return what `data show` says of where a dataset came from and what was made from it."""
    place = found["version"]
    words = f"{place['version']}, {place['relation']}" if place["version"] > 1 else str(place["version"])
    is_current = place["current"] in (None, found["id"])
    standing = (
        ""
        if place["standing"] == "in-force" and is_current
        else f"; {place['standing']}, current is {place['current']}"
    )
    facts: list[tuple[str, Any]] = [
        ("from", f"{one['name']}, {units.count(one['rows'])} rows, sha256 {one['sha256'][:16]}")
        for one in found["files"]
    ]
    made = ", ".join(f"{one['version']} ({one['role']})" for one in found["models"])
    return [
        *facts,
        ("accepted", units.ago(found["files"][0]["accepted_at"])),
        ("version", words + standing),
        ("jobs", ", ".join(found["jobs"]) or None),
        ("trained by", ", ".join(found["runs"]) or None),
        ("models", made or None),
        *(("compared", f"{one['trial']}, with {', '.join(one['datasets'])}") for one in found["compared_with"]),
    ]


def earlier_datasets(reader: Reader, dataset_id: str) -> list[Dataset]:
    """Return the datasets with rows that were accepted before one, the newest first."""
    from stoker.data.dataset import Dataset

    ids = [found["id"] for found in reader.datasets()]
    before = [reader.workspace.dataset(id) for id in ids[: ids.index(dataset_id)]]
    return [Dataset(folder) for folder in reversed(before) if (folder / "dataset.json").is_file()]


def _chosen(reader: Reader, families: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    named = [family for family in families if any(version["name"] == what for version in family["versions"])]
    if named:
        return named[-1]
    try:
        dataset = reader.resolve("dataset", what)
    except NotFound:
        raise NotFound(f"no file or dataset {what!r}", "", "run: stoker data list") from None
    return next(family for family in families if dataset in [version["dataset"] for version in family["versions"]])


def _compare(reader: Reader, found: list[dict[str, Any]]) -> None:
    """Put into each version how many rows it added, removed and changed; None where one of the two has no rows."""
    from stoker.data.contents import contents
    from stoker.data.dataset import Dataset
    from stoker.data.diff import diff_rows

    before = None
    for version in found:
        folder = reader.workspace.dataset(version["dataset"])
        rows = None
        if (folder / "dataset.json").is_file():
            rows = contents(Dataset(folder), earlier_datasets(reader, version["dataset"]))
        version["changes"] = None
        if before is not None and rows is not None:
            version["changes"] = {name: len(each) for name, each in diff_rows(before, rows).items()}
        before = rows if rows is not None else before


def _print_family(family: dict[str, Any]) -> None:
    rows = []
    for version in family["versions"]:
        changes = version["changes"] or {}
        rows.append(
            (
                f"v{version['version']}",
                version["dataset"],
                version["name"],
                version["relation"],
                "current" if version["dataset"] == family["current"] else version["standing"],
                *(units.count(version[key]) for key in ("rows_in", "train")),
                *(units.count(changes.get(name)) for name in _DIFFERENCES),
                ", ".join(version["trained_by"]) or "-",
            )
        )
    headers = ("rows in", "train", *_DIFFERENCES)
    print_table(("", "id", "file", "relation", "standing", *headers, "trained by"), rows, numbers=headers)


def _print_plan(reader: Reader, plan: dict[str, Any]) -> None:
    found = {one["id"]: one for one in reader.datasets()}
    target = found[plan["current"]]
    say(f"{target['id']} {target['name']}: its {units.count(target['train'])} rows train, those that were replaced too")
    for dataset in plan["rolled_back"]:
        one = found[dataset]
        say(f"{dataset} {one['name']}: its {units.count(one['train'])} rows no longer train, new or as replay")
    for dataset in plan["restored"]:
        say(f"{dataset} {found[dataset]['name']}: its rows train again" + _queued(plan, dataset))
    for job in plan["stopped"]:
        say(f"{job} is taken out of the queue")
    for dataset, made in plan["trained_by"].items():
        say(f"{', '.join(made)} were trained on {dataset} and stay; to leave them: stoker model rollback")


def _queued(plan: dict[str, Any], dataset: str) -> str:
    return ", its job is queued" if dataset in plan["queued"] else ""
