"""Dataset versions, read: which datasets are versions of one another, which is current, whose rows still count, and
which model versions were made from them.

A family is a first dataset and those that extend or replace it. Its current version is the newest that is neither rolled
back nor unusable. A version that replaces takes the place of all before it: of their rows only those that it still has
count. Everything that follows (training, replay, the held-out set) is decided from these rows of the store alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from stoker.errors import NotAllowed, NotFound
from stoker.store import tables as t

USABLE_STATES = ("ready", "empty", "kept", "trained")
FIRST, EXTENDS, REPLACES = "first", "extends", "replaces"
_COUNTS = ("rows_in", "train", "held_out", "duplicate", "quarantined")
ROLES = ("new", "replay", "inherited")


@dataclass(frozen=True)
class Standing:
    """A dataset among the versions of its family."""

    dataset: str
    number: int
    name: str
    state: str
    family: str
    version: int
    relation: str
    is_rolled_back: bool

    @property
    def is_usable(self) -> bool:
        return self.state in USABLE_STATES and not self.is_rolled_back

    @property
    def label(self) -> str:
        return f"version {self.version} ({self.name}, {self.dataset})"


def standings(connection: Connection) -> dict[str, Standing]:
    """Return where every dataset stands, in the order of acceptance."""
    d, v = t.datasets, t.dataset_versions
    columns = (
        d.c.id.label("dataset"), d.c.number, d.c.name, d.c.state, func.coalesce(v.c.family, d.c.id).label("family"),
        func.coalesce(v.c.version, 1).label("version"), func.coalesce(v.c.relation, FIRST).label("relation"),
        func.coalesce(v.c.is_rolled_back, False).label("is_rolled_back"),
    )  # fmt: skip
    statement = select(*columns).select_from(d.outerjoin(v, v.c.dataset == d.c.id)).order_by(d.c.number)
    return {row.dataset: Standing(**row._mapping) for row in connection.execute(statement)}


def family_of(found: dict[str, Standing], dataset_id: str) -> list[Standing]:
    """Return all versions of the family that a dataset belongs to, oldest first."""
    family = found[dataset_id].family
    return sorted((one for one in found.values() if one.family == family), key=lambda one: one.version)


def current(family: list[Standing]) -> Standing | None:
    """Return the version in use, or None while none can be used."""
    usable = [one for one in family if one.is_usable]
    return usable[-1] if usable else None


def keepers(found: dict[str, Standing]) -> dict[str, list[str]]:
    """Return the datasets whose rows no longer count by themselves, each with those that keep a row by having it too.

    These are the versions in force of its family, and every dataset in force that was accepted later: what those share
    with it was left out of them as a duplicate.
    """
    in_force = _in_force(found)
    return {
        one.dataset: [
            other.dataset for other in in_force if other.family == one.family or other.number > one.number
        ]
        for one in found.values()
        if one not in in_force and (one.state in USABLE_STATES or one.is_rolled_back)
    }  # fmt: skip


def words_for(one: Standing, out: dict[str, list[str]]) -> str:
    """Return "in-force", "replaced" or "rolled-back"."""
    return "rolled-back" if one.is_rolled_back else "replaced" if one.dataset in out else "in-force"


def rollback_plan(connection: Connection, dataset_id: str) -> dict[str, Any]:
    """Return what making a version current again changes; NotAllowed when it can't be.

    `rolled_back` are the versions after it, `restored` those up to it that were rolled back; `stopped` and `queued` the
    jobs that leave and enter the queue; `trained_by` the model versions that trained on what is rolled back.
    """
    found = standings(connection)
    if dataset_id not in found:
        raise NotFound(f"no dataset {dataset_id!r}", "", "run: stoker data list")
    family = family_of(found, dataset_id)
    target, present = found[dataset_id], current(family)
    if target.state not in USABLE_STATES:
        raise NotAllowed(f"{target.label} is {target.state}", "only a version with rows that count can be current")
    if present is not None and present.dataset == target.dataset:
        raise NotAllowed(f"{target.label} is current", "there is nothing to go back from", "run: stoker data versions")
    later = [one for one in family if one.version > target.version and not one.is_rolled_back]
    again = [one for one in family if one.version <= target.version and one.is_rolled_back]
    return {
        "current": target.dataset,
        "instead_of": present.dataset if present else None,
        "rolled_back": [one.dataset for one in later],
        "restored": [one.dataset for one in again],
        "stopped": [job for one in later for job in _open_jobs(connection, one.dataset)],
        "queued": [one.dataset for one in again if one.state == "ready"],
        "trained_by": {one.dataset: made for one in later if (made := trained_by(connection, one.dataset))},
    }


def families(connection: Connection) -> list[dict[str, Any]]:
    """Return every family with its versions, oldest first: where they stand, their rows, who trained on them."""
    found = standings(connection)
    out = keepers(found)
    rows = {row.id: row for row in connection.execute(select(t.datasets))}
    listed = []
    for family in dict.fromkeys(one.family for one in found.values()):
        versions = family_of(found, family)
        present = current(versions)
        listed.append(
            {
                "family": family,
                "name": versions[-1].name,
                "current": present.dataset if present else None,
                "versions": [
                    {
                        "version": one.version, "dataset": one.dataset, "name": one.name, "relation": one.relation,
                        "standing": words_for(one, out), "state": one.state, "accepted_at": rows[one.dataset].created,
                        **{key: rows[one.dataset]._mapping[key] for key in _COUNTS},
                        "trained_by": trained_by(connection, one.dataset),
                    }
                    for one in versions
                ],
            }
        )  # fmt: skip
    return listed


def place_of(connection: Connection, dataset_id: str) -> dict[str, Any]:
    """Return where one dataset stands among the versions of its family."""
    found = standings(connection)
    one, present = found[dataset_id], current(family_of(found, dataset_id))
    return {
        "family": one.family, "version": one.version, "relation": one.relation,
        "standing": words_for(one, keepers(found)), "current": present.dataset if present else None,
    }  # fmt: skip


def models_of(connection: Connection, dataset_id: str) -> list[dict[str, Any]]:
    """Return the model versions in whose weights a dataset's rows are, deleted ones too, with the dataset's role in each."""
    p, v = t.version_datasets, t.versions
    return [
        {"version": f"{row.model}/v{row.version}", "role": row.role, "run": row.run, "state": row.state}
        for row in connection.execute(
            select(p, v.c.run, v.c.state)
            .join_from(p, v, (v.c.model == p.c.model) & (v.c.version == p.c.version))
            .where(p.c.dataset == dataset_id)
            .order_by(v.c.created, p.c.model, p.c.version)
        )
    ]


def datasets_of(connection: Connection, model: str, version: int) -> list[dict[str, Any]]:
    """Return the datasets in a model version's weights in the order of acceptance, with the role of each."""
    p, d = t.version_datasets, t.datasets
    found = select(p.c.dataset, d.c.name, d.c.file_sha256, p.c.role).join_from(p, d, d.c.id == p.c.dataset)
    rows = connection.execute(found.where(p.c.model == model, p.c.version == version).order_by(d.c.number))
    names = ("dataset", "name", "file_sha256", "role")
    return [{name: row._mapping[name] for name in names} for row in rows]


def trained_by(connection: Connection, dataset_id: str, *roles: str) -> list[str]:
    """Return the published model versions in whose weights a dataset's rows are ("main/v2"), oldest first."""
    p, v = t.version_datasets, t.versions
    statement = (
        select(p.c.model, p.c.version)
        .join_from(p, v, (v.c.model == p.c.model) & (v.c.version == p.c.version))
        .where(p.c.dataset == dataset_id, p.c.role.in_(roles or ROLES), v.c.state == "published")
        .order_by(v.c.created, p.c.model, p.c.version)
    )
    return [f"{row.model}/v{row.version}" for row in connection.execute(statement)]


def _in_force(found: dict[str, Standing]) -> list[Standing]:
    usable = [one for one in found.values() if one.is_usable]
    replaced_to: dict[str, int] = {}
    for one in usable:
        if one.relation == REPLACES:
            replaced_to[one.family] = max(one.version, replaced_to.get(one.family, 0))
    return [one for one in usable if one.version >= replaced_to.get(one.family, 0)]


def _open_jobs(connection: Connection, dataset_id: str) -> list[str]:
    j, r = t.jobs, t.runs
    statement = (
        select(j.c.id)
        .join_from(j, r, r.c.job == j.c.id)
        .where(j.c.dataset == dataset_id, r.c.state.in_(("queued", "running", "paused", "parked")))
        .order_by(j.c.number)
    )
    return list(dict.fromkeys(connection.scalars(statement)))
