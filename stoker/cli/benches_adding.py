"""A file made into a benchmark of the lab: frozen with its header, read once, held against what the lab has trained."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.errors import InvalidInput, NotAllowed
from stoker.workspace import Workspace

if TYPE_CHECKING:
    from stoker.data.benchmarks import Benchmark

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
_LINES = (".jsonl", ".ndjson")


def add_benchmark(
    workspace: Workspace, file: Path, *, name: str, scorer: str, options: Mapping[str, str], system: str | None, replace: bool
) -> dict[str, Any]:  # fmt: skip
    """Publish `file` as benchmark `name`, once it reads without a mistake.

    Return what it is: `items`, `categories`, `not_scorable` (items whose own answer the scorer would not take) and
    `overlap` (file of the lab to number of items that are near a row trained from it).
    """
    from stoker.data.benchmarks import read_benchmark
    from stoker.durable import sha256_file, write_atomic

    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no name of a benchmark", "letters, digits, -, _ and .", "choose another --name"
        )
    target = workspace.benchmarks / f"{name}.jsonl"
    if target.exists() and not replace:
        raise NotAllowed(f"there is a benchmark {name}", "a benchmark is frozen", "choose another --name, or --replace")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / target.name
        _copy_lines(file, copy)
        header = _header(scorer, options, system, sha256_file(copy))
        copy.with_suffix(".toml").write_text(header, "utf-8")
        benchmark = read_benchmark(copy)
        facts = _facts(workspace, benchmark, target)
        workspace.benchmarks.mkdir(parents=True, exist_ok=True)
        write_atomic(target.with_suffix(".toml"), header.encode())
        write_atomic(target, copy.read_bytes())
    return {"name": name, "items": len(benchmark.items), "scorer": benchmark.scorer, "sha256": benchmark.sha256} | facts


def describe(added: Mapping[str, Any]) -> list[str]:
    """Return what a person should know of an added benchmark, a sentence a line."""
    lines = [f"benchmark {added['name']}: {added['items']} items, scorer {added['scorer']}, frozen"]
    if added["not_scorable"]:
        lines.append(f"{added['not_scorable']} items do not count: the scorer would not take their own answer")
    total = sum(added["overlap"].values())
    if total:
        parts = ", ".join(f"{count} near rows of {name}" for name, count in added["overlap"].items())
        lines.append(f"{total} items do not count for models trained here: {parts}")
    elif added["overlap_checked"]:
        lines.append(f"no item is near a row of the {added['overlap_checked']} files trained here")
    return [*lines, "run: stoker eval bench"]


def _copy_lines(file: Path, copy: Path) -> None:
    """Copy a file of lines as it is, anything else as the records that are read from it."""
    import orjson

    from stoker.data.benchmarks import read_values

    if file.suffix.lower() in _LINES:
        shutil.copyfile(file, copy)
    else:
        copy.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in read_values(file)))


def _header(scorer: str, options: Mapping[str, str], system: str | None, sha256: str) -> str:
    import tomlkit

    header = tomlkit.document()
    header["scorer"] = scorer
    if system:
        header["system"] = system
    header["sha256"] = sha256
    if options:
        header["options"] = {key: _value(text) for key, text in options.items()}
    return tomlkit.dumps(header)


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _facts(workspace: Workspace, benchmark: Benchmark, target: Path) -> dict[str, Any]:
    from stoker.analysis.scorers import is_scorable
    from stoker.bench.scorers import scorer_for
    from stoker.spec.reading import read_settings

    scorer = scorer_for(
        target, benchmark.header, read_settings(workspace.settings).evaluate, workspace.answers, workspace.root
    )
    folders = _trained(workspace)
    return {
        "categories": len({item.category for item in benchmark.items} - {None}),
        "not_scorable": sum(not is_scorable(scorer, item.meta, item.answer) for item in benchmark.items),
        "overlap": _overlap(benchmark, folders),
        "overlap_checked": len(folders),
    }


def _trained(workspace: Workspace) -> list[Path]:
    from stoker.store.reader import Reader

    if not workspace.store.exists():
        return []
    known = [found for found in Reader(workspace).datasets() if found["train"]]
    return [folder for found in known if (folder := workspace.dataset(found["id"])).is_dir()]


def _overlap(benchmark: Benchmark, folders: list[Path]) -> dict[str, int]:
    """Count the items near a trained row by the file that row is from; an item near several counts with the first."""
    from stoker.data.sealing.overlap import near_trained

    near = near_trained([item.row for item in benchmark.items], folders)
    return dict(Counter(place.rpartition(":")[0] for place in near.values()))
