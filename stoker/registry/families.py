"""Dataset versions, written: a file enters a family when it is accepted, and a version is rolled back or restored.

A file extends the newest dataset of its name, unless it was declared to replace one: then it joins that one's family. The
declaration may come before the file or after it. What follows for training is read by `store.families`.
"""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from stoker.errors import NotAllowed, NotFound
from stoker.store import tables as t
from stoker.store.families import EXTENDS, FIRST, REPLACES, Standing, current, family_of, standings
from stoker.store.store import Transaction

_DECLARED = "replaces:"


def enter(transaction: Transaction, dataset_id: str, name: str, sha256: str) -> None:
    """Make an accepted dataset a version: of what it was declared to replace, of the newest of its name, or the first."""
    found = standings(transaction.connection)
    declared = transaction.get(_DECLARED + sha256)
    transaction.execute(delete(t.lab).where(t.lab.c.key == _DECLARED + sha256))
    if declared in found:
        _join(transaction, dataset_id, found[declared].family, REPLACES)
        return
    same_name = [one for one in found.values() if one.name == name and one.dataset != dataset_id]
    if same_name:
        _join(transaction, dataset_id, same_name[-1].family, EXTENDS)
    else:
        _put(transaction, dataset_id, dataset_id, 1, FIRST)


def declare(transaction: Transaction, sha256: str, replaced_id: str) -> str | None:
    """Have the file of this content replace a dataset; return the file's dataset when it is already there."""
    found = standings(transaction.connection)
    if replaced_id not in found:
        raise NotFound(f"no dataset {replaced_id!r}", "", "run: stoker data list")
    if found[replaced_id].state == "rejected":
        raise NotAllowed(f"{replaced_id} was rejected", "nothing of it counts", "add the file without --replaces")
    known = transaction.scalar(select(t.datasets.c.id).where(t.datasets.c.file_sha256 == sha256))
    if known is None:
        transaction.put(_DECLARED + sha256, replaced_id)
        return None
    _declare_known(transaction, found, found[known], found[replaced_id])
    return str(known)


def set_rolled_back(transaction: Transaction, dataset_id: str, *, is_rolled_back: bool) -> None:
    """Take a version out of use, or into use again."""
    one = standings(transaction.connection)[dataset_id]
    v = t.dataset_versions
    if transaction.first(select(v.c.dataset).where(v.c.dataset == dataset_id)) is None:
        _put(transaction, dataset_id, one.family, one.version, one.relation)
    transaction.execute(update(v).where(v.c.dataset == dataset_id).values(is_rolled_back=is_rolled_back))


def refuse_rolled_back(transaction: Transaction, dataset_id: str) -> None:
    """Raise NotAllowed when a dataset's version is rolled back: it does not train."""
    one = standings(transaction.connection).get(dataset_id)
    if one is not None and one.is_rolled_back:
        raise NotAllowed(
            f"{dataset_id} is rolled back",
            "a later version that was rolled back does not train",
            f"to make it current again: stoker data rollback {dataset_id}",
        )


def _declare_known(transaction: Transaction, found: dict[str, Standing], one: Standing, replaced: Standing) -> None:
    if one.family == replaced.family and one.version > replaced.version and one.relation == REPLACES:
        return
    family = family_of(found, one.dataset)
    is_newest = one.family == replaced.family and one.version == family[-1].version > 1
    if is_newest:
        v = t.dataset_versions
        transaction.execute(update(v).where(v.c.dataset == one.dataset).values(relation=REPLACES))
        _tell(transaction, one.dataset)
    elif one.family != replaced.family and len(family) == 1:
        transaction.execute(delete(t.dataset_versions).where(t.dataset_versions.c.dataset == one.dataset))
        _join(transaction, one.dataset, replaced.family, REPLACES)
    else:
        raise NotAllowed(
            f"{one.label} can't replace {replaced.label}",
            "a version replaces those before it, and stays in the family it is in",
            f"to go back to it: stoker data rollback {one.dataset}",
        )


def _join(transaction: Transaction, dataset_id: str, family: str, relation: str) -> None:
    members = [one for one in family_of(standings(transaction.connection), family) if one.dataset != dataset_id]
    for one in members:
        if transaction.first(select(t.dataset_versions).where(t.dataset_versions.c.dataset == one.dataset)) is None:
            _put(transaction, one.dataset, family, one.version, one.relation)
    _put(transaction, dataset_id, family, members[-1].version + 1, relation)
    _tell(transaction, dataset_id)


def _tell(transaction: Transaction, dataset_id: str) -> None:
    found = standings(transaction.connection)
    one = found[dataset_id]
    present = current([other for other in family_of(found, dataset_id) if other.version < one.version])
    others = "the versions before it" if present is None else present.label
    if one.relation == REPLACES:
        text = f"{one.label} replaces {others}: rows that it does not have stop training once it is read"
    else:
        text = f"{one.label} extends {others}: the rows of both train; to replace them: stoker add FILE --replaces ID"
    transaction.event("info", "dataset.version", text, dataset=dataset_id)


def _put(transaction: Transaction, dataset_id: str, family: str, version: int, relation: str) -> None:
    values = {"dataset": dataset_id, "family": family, "version": version, "relation": relation}
    transaction.execute(insert(t.dataset_versions).values(**values, is_rolled_back=False))
