"""What a version was made from: its ancestors and their datasets, and references to those whose rows count."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from stoker.data.quality.decisions import read_decided
from stoker.registry.versions import find_version
from stoker.spec.jobs import DatasetRef
from stoker.store import tables as t
from stoker.store.families import keepers, standings
from stoker.store.records import VersionRecord
from stoker.store.store import Transaction
from stoker.workspace import Workspace


def ancestors(transaction: Transaction, version: VersionRecord) -> list[VersionRecord]:
    """Return the version's parent, its parent and so on, deleted ones too."""
    found: list[VersionRecord] = []
    parent = find_version(transaction, version.model, version.parent)
    while parent is not None:
        found.append(parent)
        parent = find_version(transaction, parent.model, parent.parent)
    return found


def replay_datasets(parent: VersionRecord | None, new: Sequence[str]) -> list[str]:
    """Return the datasets in the parent's lineage without the new ones, oldest first."""
    return [] if parent is None else [dataset for dataset in parent.datasets if dataset not in new]


def trained_datasets(transaction: Transaction) -> list[str]:
    """Return every dataset that some version of the lab has trained on, in the order of acceptance."""
    d = t.datasets
    return [row.id for row in transaction.rows(select(d.c.id).where(d.c.state == "trained").order_by(d.c.number))]


def dataset_refs(transaction: Transaction, workspace: Workspace, ids: Sequence[str]) -> tuple[DatasetRef, ...]:
    """Return references to published datasets, in the order given, each with the rows that were removed by review."""
    d = t.datasets
    names = {row.id: row.name for row in transaction.rows(select(d.c.id, d.c.name).where(d.c.id.in_(ids)))}
    return tuple(
        DatasetRef(
            id=id, folder=workspace.dataset(id), name=names[id],
            removed=tuple(sorted(read_decided(workspace.review(id)).removed())),
        )
        for id in ids
    )  # fmt: skip


def earlier_refs(transaction: Transaction, workspace: Workspace, ids: Sequence[str]) -> tuple[DatasetRef, ...]:
    """Return references to what a new file is compared with; the rows of a version that is rolled back may come again."""
    found = standings(transaction.connection)
    return tuple(
        ref.model_copy(update={"is_rolled_back": found[ref.id].is_rolled_back})
        for ref in dataset_refs(transaction, workspace, ids)
    )


def counting_refs(transaction: Transaction, workspace: Workspace, ids: Sequence[str]) -> tuple[DatasetRef, ...]:
    """Return references to those of the datasets whose rows count, in part where a version is no longer in force."""
    out = keepers(standings(transaction.connection))
    refs = dataset_refs(transaction, workspace, [id for id in ids if out.get(id) != []])
    kept_by = {id: tuple(workspace.dataset(keeper) for keeper in found) for id, found in out.items()}
    return tuple(ref.model_copy(update={"kept_by": kept_by.get(ref.id)}) for ref in refs)
