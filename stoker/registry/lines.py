"""Model lines: which line a job continues.

A line keeps one base and one way of changing its weights. When the settings ask for another base or method, its
versions can't be continued: a new line of the same family begins (main, main-2, ...), and an event says so. Settings
that return to what an older line of the family had continue that line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from stoker.spec.jobs import BaseRef, TokenizerRef
from stoker.spec.lab import LabSpec, ModelSpec
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


def tokenizer_ref(workspace: Workspace, spec: LabSpec) -> TokenizerRef:
    """Return the tokenizer that the settings' base has, for measuring rows; nothing is downloaded for that."""
    base = base_ref(workspace, spec.model)
    folder = base.folder or downloaded_base(base)
    is_here = folder is not None and (folder / "tokenizer.json").is_file()
    return TokenizerRef(name=base.name, folder=folder if is_here else None, max_length=spec.train.max_length)


def downloaded_base(base: BaseRef) -> Path | None:
    """Return where the hub's cache holds a base, as huggingface_hub lays it out; None when it holds none."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{base.name.replace('/', '--')}"
    pointer = folder / "refs" / base.revision
    commit = pointer.read_text().strip() if pointer.is_file() else base.revision
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


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
