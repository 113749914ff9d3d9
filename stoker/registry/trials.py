"""Trials: several datasets, each trained as a branch of the same parent with the same settings, then compared.

The parent and the settings are those of the moment at which all datasets were read; whatever the line does meanwhile, every
branch begins there. A branch trains all of its dataset's rows, also those that another dataset of the lab holds, unless the
parent has them already. A branch is a version of the line that nothing promotes by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from stoker.data.dataset import Dataset
from stoker.registry.lineage import ancestors, counting_refs, dataset_refs, replay_datasets
from stoker.registry.versions import find_version
from stoker.spec.jobs import DatasetRef
from stoker.spec.lab import LabSpec
from stoker.store import tables as t
from stoker.store.records import RunRecord, VersionRecord
from stoker.store.store import Transaction
from stoker.workspace import Workspace

OPEN = ("reading", "training", "evaluating")


@dataclass(frozen=True)
class Trial:
    """`settings` are the lab's as every branch has them; `model` and `parent` are set once the branches begin."""

    id: str
    datasets: list[str]
    priority: int
    state: str
    model: str | None
    parent: int | None
    settings: dict[str, Any]
    evaluation: str | None

    @property
    def spec(self) -> LabSpec:
        return LabSpec.model_validate(self.settings)


def find_trials(transaction: Transaction, *conditions: Any) -> list[Trial]:
    """Return the trials that fulfil the conditions, oldest first."""
    rows = transaction.rows(select(t.trials).where(*conditions).order_by(t.trials.c.number))
    names = Trial.__dataclass_fields__
    return [Trial(**{name: row._mapping[name] for name in names}) for row in rows]


def trial_of(transaction: Transaction, run: RunRecord) -> Trial | None:
    """Return the trial that a run is a branch of, or None."""
    j = t.jobs
    found = find_trials(transaction, t.trials.c.id == select(j.c.trial).where(j.c.id == run.job).scalar_subquery())
    return found[0] if found else None


def is_in_open_trial(transaction: Transaction, dataset_id: str) -> bool:
    """Tell whether a dataset waits to be trained as a branch."""
    return any(dataset_id in trial.datasets for trial in find_trials(transaction, t.trials.c.state.in_(OPEN)))


def branch_refs(
    transaction: Transaction, workspace: Workspace, dataset_id: str, parent: VersionRecord | None
) -> tuple[DatasetRef, ...]:
    """Return what a branch trains: its dataset, and what others hold of its rows but the parent was not trained on."""
    folder = workspace.dataset(dataset_id)
    known = [dataset_id, *(parent.datasets if parent else ())]
    d = t.datasets
    number = select(d.c.number).where(d.c.id == dataset_id).scalar_subquery()
    earlier = [row.id for row in transaction.rows(select(d.c.id).where(d.c.number < number).order_by(d.c.number))]
    shared = [other for other in earlier if other not in known and _shares(workspace, other, dataset_id)]
    parts = [ref.model_copy(update={"kept_by": (folder,)}) for ref in dataset_refs(transaction, workspace, shared)]
    own = dataset_refs(transaction, workspace, [dataset_id])
    return (*own, *parts) if Dataset(folder).summary["train"] or not parts else tuple(parts)


def replay_refs(
    transaction: Transaction, workspace: Workspace, parent: VersionRecord | None, new: Sequence[str]
) -> tuple[DatasetRef, ...]:
    """Return what a run replays: the datasets of its parent without the new ones, a branch's with its shared rows."""
    if parent is None:
        return ()
    replay = replay_datasets(parent, new)
    refs = counting_refs(transaction, workspace, replay)
    branches: list[DatasetRef] = []
    for version in (parent, *ancestors(transaction, parent)):
        dataset = _branch_dataset(transaction, version)
        if dataset is not None and dataset in replay:
            before = find_version(transaction, version.model, version.parent)
            branches += branch_refs(transaction, workspace, dataset, before)
    whole = {*parent.datasets, *new}
    return (*refs, *(ref for ref in branches if ref.id not in whole))


def _branch_dataset(transaction: Transaction, version: VersionRecord) -> str | None:
    """Return the dataset of the branch that a version is, or None when it is none."""
    r, j = t.runs, t.jobs
    statement = (
        select(r.c.dataset).join_from(r, j, j.c.id == r.c.job).where(r.c.id == version.run, j.c.trial.is_not(None))
    )
    found: str | None = transaction.scalar(statement)
    return found


def _shares(workspace: Workspace, other: str, dataset_id: str) -> bool:
    from stoker.data.replaced import is_counting  # numpy, which an idle supervisor does without

    folder = workspace.dataset(other)
    if not (folder / "dataset.json").is_file():
        return False
    rows = [row.id for row in Dataset(folder).train_rows()]
    return bool(rows) and bool(is_counting(rows, [workspace.dataset(dataset_id)]).any())
