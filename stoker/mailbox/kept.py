"""What models answered, whoever asked: benchmarks run by hand and the evaluations of versions, in one form.

It reads result folders and the item files beside them and writes nothing. What can't be read is as good as missing.
Two results may be laid side by side when their `conditions` are equal: the same questions, asked in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from stoker.mailbox.benches import ITEMS, BenchItem, read_benches
from stoker.workspace import Workspace

_RESULTS, _JOB = "results.json", "job.json"
_ITEM_FIELDS = frozenset(BenchItem.model_fields)


@dataclass(frozen=True)
class Kept:
    """One model's items on one benchmark. `name` is the result's key or the evaluation's id."""

    model: str
    benchmark: str
    scorer: str
    primary: str
    kind: Literal["bench", "evaluation"]
    name: str
    at: float
    sha256: str | None
    conditions: str
    path: Path
    settings: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None

    def items(self) -> list[BenchItem]:
        """Return the items in benchmark order; [] when they are gone."""
        found = (_item(record) for record in _lines(self.path) if record.get("benchmark") in (None, self.benchmark))
        return [item for item in found if item is not None]


def read_kept(workspace: Workspace) -> list[Kept]:
    """Return every kept result of the lab, oldest first."""
    found = [*_benches(workspace.benches), *_evaluations(workspace.evaluations)]
    return sorted(found, key=lambda kept: (kept.at, kept.name, kept.model))


def newest(kept: Iterable[Kept], *, model: str, benchmark: str) -> Kept | None:
    """Return a model's result on a benchmark as its file is now: by hand before by evaluation, whole before limited."""
    mine = [one for one in kept if (one.model, one.benchmark) == (model, benchmark)]
    if not mine:
        return None
    current = [one for one in mine if one.sha256 == mine[-1].sha256]
    return max(current, key=lambda one: (one.kind == "bench", one.limit is None, one.at))


def side_by_side(kept: Sequence[Kept], *, models: Sequence[str], benchmark: str) -> dict[str, Kept]:
    """Return comparable results of the models on a benchmark: those conditions that most have, then the newest."""
    groups: dict[str, dict[str, Kept]] = {}
    for one in kept:
        if one.benchmark == benchmark and one.model in models:
            groups.setdefault(one.conditions, {})[one.model] = one
    if not groups:
        return {}
    best = max(groups.values(), key=lambda group: (len(group), max(one.at for one in group.values())))
    return {model: best[model] for model in models if model in best}


def _benches(folder: Path) -> Iterator[Kept]:
    for result in read_benches(folder):
        limit = result.settings.get("limit")
        yield Kept(
            model=result.model, benchmark=result.benchmark, scorer=result.scorer, primary=result.primary, kind="bench",
            name=result.key, at=result.at, sha256=result.benchmark_sha256,
            conditions=_hash("bench", result.benchmark_sha256, result.settings), path=folder / result.key / ITEMS,
            settings=result.settings, limit=limit if isinstance(limit, int) else None,
        )  # fmt: skip


def _evaluations(folder: Path) -> Iterator[Kept]:
    for path in folder.glob(f"*/{_RESULTS}"):
        try:
            result = orjson.loads(path.read_bytes())
            at = path.stat().st_mtime
            asked = _asked(path.with_name(_JOB))
            for label, scores in result["scores"].items():
                for each in result["sets"]:
                    if each["name"] in scores:
                        yield _evaluated(path.parent, label, each, at, asked)
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            continue


def _evaluated(folder: Path, label: str, each: dict[str, Any], at: float, asked: dict[str, Any]) -> Kept:
    return Kept(
        model=label, benchmark=each["name"], scorer=each["scorer"], primary=each["metric"], kind="evaluation",
        name=folder.name, at=at, sha256=each.get("sha256"),
        conditions=_hash("evaluation", each.get("sha256"), asked),
        path=folder / f"items-{label.replace('/', '-')}.jsonl", settings=asked,
    )  # fmt: skip


def _asked(path: Path) -> dict[str, Any]:
    """Return what of an evaluation's job its answers depend on; {} when it is gone."""
    try:
        job = orjson.loads(path.read_bytes())
        return {
            "max_new_tokens": job["evaluate"]["max_new_tokens"],
            "max_length": job["train"]["max_length"],
            "precision": job["train"]["precision"],
        }
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return {}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = path.read_bytes()
    except OSError:
        return
    for line in content.splitlines():
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict):
            yield record


def _item(record: dict[str, Any]) -> BenchItem | None:
    try:
        return BenchItem.model_validate({name: value for name, value in record.items() if name in _ITEM_FIELDS})
    except ValidationError:
        return None


def _hash(*parts: Any) -> str:
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
