"""Model lines: which line a job continues.

A line keeps one base and one way of changing its weights. When the settings ask for another base or method, its
versions can't be continued: a new line of the same family begins (main, main-2, ...), and an event says so. Settings
that return to what an older line of the family had continue that line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from stoker.spec.jobs import BaseRef
from stoker.spec.lab import ModelSpec
from stoker.spec.resolve import TINY, resolve_method
from stoker.store import tables as t
from stoker.store.records import ModelRecord
from stoker.store.store import Transaction
from stoker.workspace import Workspace


def base_ref(workspace: Workspace, spec: ModelSpec) -> BaseRef:
    """Return what the settings' base means in this lab: tiny's own folder, a model folder, or a hub id."""
    if spec.base == TINY:
        return BaseRef(name=TINY, folder=tiny_folder(workspace))
    folder = Path(spec.base).expanduser()
    folder = folder if folder.is_absolute() else workspace.root / folder
    if folder.is_dir() or spec.base.startswith((".", "/", "~")):
        return BaseRef(name=spec.base, revision=spec.revision, folder=folder)
    return BaseRef(name=spec.base, revision=spec.revision)


def tiny_folder(workspace: Workspace) -> Path:
    return workspace.bases / TINY


def line_for(transaction: Transaction, workspace: Workspace, spec: ModelSpec) -> ModelRecord:
    """Return the line that the settings continue; a new one is made, and told of, where none fits."""
    shape = _shape(spec, base_ref(workspace, spec))
    family = transaction.rows(select(t.models).where(t.models.c.family == spec.name).order_by(t.models.c.number.desc()))
    for row in family:
        if (row.base, row.revision, row.shape) == (spec.base, spec.revision, shape):
            transaction.put("model", row.name)
            return ModelRecord.of(row)
    name = _free_name(transaction, spec.name)
    number = transaction.next_number(t.models)
    transaction.execute(
        insert(t.models).values(
            name=name,
            number=number,
            family=spec.name,
            base=spec.base,
            revision=spec.revision,
            shape=shape,
            champion=None,
            created=transaction.now,
        )
    )
    transaction.put("model", name)
    if family:
        transaction.event(
            "warn",
            "model.new-line",
            f"the settings now ask for {spec.base} with {shape['method']}, which {family[0].name} "
            f"({family[0].base}, {family[0].shape['method']}) can't continue: a new model begins, {name}",
            model=name,
        )
    return get_line(transaction, name)


def get_line(transaction: Transaction, name: str) -> ModelRecord:
    """Return a line that exists."""
    row = transaction.first(select(t.models).where(t.models.c.name == name))
    assert row is not None, name
    return ModelRecord.of(row)


def remember_base(transaction: Transaction, name: str, base_sha256: str) -> None:
    """Record the hash of a line's base, known once a worker has loaded it."""
    transaction.execute(update(t.models).where(t.models.c.name == name).values(base_sha256=base_sha256))


def _shape(spec: ModelSpec, base: BaseRef) -> dict[str, Any]:
    method = resolve_method(spec, base)
    if method == "full":
        return {"method": method}
    targets = spec.lora_targets if isinstance(spec.lora_targets, str) else list(spec.lora_targets)
    return {"method": method, "rank": spec.lora_rank, "alpha": spec.lora_alpha, "targets": targets}


def _free_name(transaction: Transaction, family: str) -> str:
    taken = {row.name for row in transaction.rows(select(t.models.c.name))}
    name, number = family, 1
    while name in taken:
        number += 1
        name = f"{family}-{number}"
    return name
