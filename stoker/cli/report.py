"""`stoker data report`: gathers what is known of a dataset or a file and writes it as one HTML page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.checks import file_aside
from stoker.cli.console import note, print_json, say
from stoker.cli.lab import current_lab, open_reader
from stoker.data.dataset import SUMMARY, Dataset
from stoker.data.sample import spread_rows
from stoker.data.statistics import describe
from stoker.durable import write_atomic
from stoker.errors import NotAllowed, NotFound
from stoker.report.dataset import DatasetFacts, dataset_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stoker.data.rows import Row

_SAMPLES = 5
_REFUSED_STATES = ("rejected",)


def write_report(what: str, out: Path | None, as_json: bool) -> None:
    """Write the page about `what` to `out`, which must not exist, or to its own place, where a newer one replaces it."""
    if out is not None:
        _require_free(out)
    path = Path(what)
    name, page = _of_file(path) if path.exists() else _of_dataset(what)
    target = (out or _default_folder() / f"data-{_plain(name)}.html").absolute()
    data = page.encode()
    write_atomic(target, data)
    if as_json:
        print_json({"file": str(target), "bytes": len(data)})
        return
    say(str(target))
    note(f"{units.size(len(data))}; open it in a browser")


def _of_file(path: Path) -> tuple[str, str]:
    with file_aside(path) as (summary, dataset):
        refusal = _refusal_words(summary["refusal"])
        facts = [("file", f"{path.name}, {units.size(path.stat().st_size)}"), ("state", "checked, not taken")]
        return path.name, _page(path.name, facts, summary, dataset.folder, refusal)


def _of_dataset(reference: str) -> tuple[str, str]:
    reader = open_reader()
    found = reader.dataset_detail(reader.resolve("dataset", reference))
    folder = reader.workspace.dataset(found["id"])
    has_rows = (folder / SUMMARY).is_file()
    if not has_rows and found["state"] not in _REFUSED_STATES:
        raise NotFound(f"{found['id']} is not read yet", f"it is {found['state']}", "run: stoker up")
    facts = [
        ("dataset", found["id"]),
        ("file", f"{found['name']}, {units.size(found['bytes'])}, SHA-256 {found['file_sha256'][:12]}"),
        ("state", found["state"]),
        ("trained by", ", ".join(found["runs"]) or "no run yet"),
    ]
    summary = Dataset(folder).summary if has_rows else found
    return found["id"], _page(found["name"], facts, summary, folder, found["refusal"])


def _page(name: str, facts: list[tuple[str, str]], summary: dict[str, Any], folder: Path, refusal: str | None) -> str:
    dataset = Dataset(folder) if (folder / SUMMARY).is_file() else None
    samples: Sequence[tuple[Row, str]] = spread_rows(dataset, _SAMPLES) if dataset else ()
    if summary.get("format"):
        facts = [*facts, ("format", str(summary["format"]))]
    statistics = describe(dataset) if dataset else None
    return dataset_page(DatasetFacts(name, facts, summary, statistics, samples, refusal))


def _refusal_words(refusal: dict[str, Any] | None) -> str | None:
    if refusal is None:
        return None
    where = [f"line {refusal['line']}"] if refusal["line"] else []
    return "\n".join([*where, *(str(refusal[key]) for key in ("what", "why", "remedy") if refusal[key])])


def _require_free(out: Path) -> None:
    if out.exists():
        raise NotAllowed(f"{out} exists", "nothing is overwritten", "name another file, or delete it")
    if not out.absolute().parent.is_dir():
        raise NotFound(f"no folder {out.absolute().parent}", "", "make it first")


def _default_folder() -> Path:
    try:
        return current_lab().reports
    except NotFound:
        return Path.cwd()


def _plain(name: str) -> str:
    """Return a name that is safe as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "file"
