"""Versions of a model line: publishing, the champion, pins, deletion, verification.

The champion is the version in use and the parent of the next run. It changes by a verdict or by hand, always with a
row in `champions`, so that a rollback knows where to go. Deletion marks the row first and takes the folder after the
commit; `retire_deleted` finishes what a crash interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, insert, select, update

from stoker.durable import retire, verify_folder
from stoker.errors import Damaged, NotAllowed, NotFound
from stoker.store import tables as t
from stoker.store.records import RunRecord, VersionRecord
from stoker.store.store import Transaction
from stoker.workspace import Workspace


def publish(
    transaction: Transaction, run: RunRecord, manifest: Mapping[str, Any], datasets: list[str]
) -> VersionRecord:
    """Record the version that `run` made; `datasets` are its ancestors' and its own, oldest first.

    What the run itself trained and replayed is what the manifest lists; the rest is inherited.
    """
    assert run.model is not None and run.version is not None
    base: Any = manifest.get("base") or {}
    transaction.execute(
        insert(t.versions).values(
            model=run.model,
            version=run.version,
            parent=run.parent,
            run=run.id,
            state="published",
            method=manifest["method"],
            weights_sha256=manifest["weights_sha256"],
            base_sha256=base.get("sha256") or manifest.get("base_sha256") or "",
            steps=int(manifest.get("steps") or 0),
            datasets=datasets,
            is_pinned=False,
            outcome=None,
            created=transaction.now,
        )
    )
    new, replay = manifest.get("datasets") or [run.dataset], manifest.get("replay") or []
    for dataset in datasets:
        role = "new" if dataset in new else "replay" if dataset in replay else "inherited"
        row = {"model": run.model, "version": run.version, "dataset": dataset, "role": role}
        transaction.execute(insert(t.version_datasets).values(**row))
    version = get_version(transaction, run.model, run.version)
    transaction.event(
        "info", "version.published", f"{version.label} was published by {run.id}", run=run.id, version=version.label
    )
    return version


def find_version(transaction: Transaction, model: str, version: int | None) -> VersionRecord | None:
    """Return a version, published or deleted, or None."""
    row = transaction.first(select(t.versions).where(t.versions.c.model == model, t.versions.c.version == version))
    return None if row is None else VersionRecord.of(row)


def get_version(transaction: Transaction, model: str, version: int) -> VersionRecord:
    """Return a published version; NotFound otherwise."""
    found = find_version(transaction, model, version)
    if found is None or found.state != "published":
        why = "it was deleted" if found is not None else ""
        raise NotFound(f"no version {model}/v{version}", why, "run: stoker model list")
    return found


def champion(transaction: Transaction, model: str) -> VersionRecord | None:
    """Return the line's version in use, or None while nothing was promoted."""
    number = transaction.scalar(select(t.models.c.champion).where(t.models.c.name == model))
    return None if number is None else get_version(transaction, model, int(number))


def promote(transaction: Transaction, model: str, version: int, reason: str, *, run: str | None = None) -> None:
    """Make a published version the champion; nothing happens when it is already."""
    chosen = get_version(transaction, model, version)
    previous = champion(transaction, model)
    if previous is not None and previous.version == version:
        return
    _set_champion(transaction, model, version, previous.version if previous else None, reason)
    transaction.event(
        "info", "version.promoted", f"{chosen.label} is the champion: {reason}", run=run, version=chosen.label
    )


def rollback(transaction: Transaction, model: str) -> VersionRecord:
    """Make the champion before the present one the champion again; NotAllowed when there was none."""
    present = champion(transaction, model)
    target = find_version(transaction, model, _champion_before(transaction, present)) if present else None
    if present is None or target is None or target.state != "published":
        raise NotAllowed(
            f"{model} has no champion to go back to",
            "a rollback needs an earlier champion that still exists",
            "choose one: stoker model promote VERSION",
        )
    earlier = _champion_before(transaction, target)
    _set_champion(transaction, model, target.version, earlier, f"rolled back from {present.label}")
    transaction.event(
        "warn", "version.rolled-back", f"{target.label} is the champion again, instead of {present.label}",
        version=target.label,
    )  # fmt: skip
    return target


def pin(transaction: Transaction, model: str, version: int, *, is_pinned: bool) -> None:
    """Keep a version from being deleted, or let it go."""
    chosen = get_version(transaction, model, version)
    if chosen.is_pinned == is_pinned:
        return
    _set(transaction, chosen, is_pinned=is_pinned)
    verb = "pinned" if is_pinned else "unpinned"
    transaction.event("info", f"version.{verb}", f"{chosen.label} was {verb}", version=chosen.label)


def set_outcome(transaction: Transaction, version: VersionRecord, outcome: str) -> None:
    """Record what the verdict on a version was: "promoted" or "kept-back"."""
    _set(transaction, version, outcome=outcome)


def delete(transaction: Transaction, model: str, version: int, *, is_confirmed: bool) -> None:
    """Mark a version deleted; call `retire_deleted` after the commit.

    NotAllowed without a confirmation, and for the champion, a pinned version, the line's last, or one in use.
    """
    chosen = get_version(transaction, model, version)
    refusal = _why_not_delete(transaction, chosen)
    if refusal:
        raise NotAllowed(f"{chosen.label} is not deleted", *refusal)
    if not is_confirmed:
        raise NotAllowed(f"{chosen.label} is not deleted", "deleting needs a confirmation", "add --yes")
    _set(transaction, chosen, state="deleted")
    transaction.event("warn", "version.deleted", f"{chosen.label} was deleted", version=chosen.label)


def retire_deleted(transaction: Transaction, workspace: Workspace) -> None:
    """Remove the folders of deleted versions."""
    for row in transaction.rows(select(t.versions).where(t.versions.c.state == "deleted")):
        retire(workspace.version(row.model, row.version))


def verify(workspace: Workspace, model: str, version: int, weights_sha256: str) -> dict[str, Any]:
    """Check a version's folder against its manifest and the store's record; return the manifest, or raise Damaged."""
    folder = workspace.version(model, version)
    manifest = verify_folder(folder)
    found = manifest.get("weights_sha256")
    if found != weights_sha256:
        raise Damaged(folder, "manifest.json", f"names weights {found}, the store recorded {weights_sha256}")
    return manifest


def _why_not_delete(transaction: Transaction, chosen: VersionRecord) -> tuple[str, str] | None:
    present = champion(transaction, chosen.model)
    if present is not None and present.version == chosen.version:
        return "it is the champion", "promote another version first"
    if chosen.is_pinned:
        return "it is pinned", f"run: stoker model unpin {chosen.label}"
    v, r = t.versions, t.runs
    published = transaction.scalar(
        select(func.count()).select_from(v).where(v.c.model == chosen.model, v.c.state == "published")
    )
    if published == 1:
        return f"it is the last version of {chosen.model}", "train another version first"
    live = r.c.state.in_(("running", "paused", "parked"))
    user = transaction.scalar(
        select(r.c.id).where(r.c.model == chosen.model, r.c.parent == chosen.version, live).limit(1)
    )
    if user is not None:
        return f"{user} continues it", f"wait for {user}, or stop it: stoker run stop {user}"
    trial = transaction.scalar(
        select(t.trials.c.id).where(t.trials.c.model == chosen.model, t.trials.c.state.in_(("training", "evaluating")))
    )
    if trial is not None:
        return f"{trial} may need it", f"wait for {trial}"
    e = t.evaluations
    judge = transaction.scalar(
        select(e.c.id).where(e.c.model == chosen.model, e.c.state.in_(("queued", "running"))).limit(1)
    )
    if judge is not None:
        return f"{judge} may be comparing it", f"wait for {judge}"
    return None


def _champion_before(transaction: Transaction, version: VersionRecord) -> int | None:
    """Return whom the version followed when it last became the champion."""
    c = t.champions
    statement = select(c.c.previous).where(c.c.model == version.model, c.c.version == version.version)
    found: int | None = transaction.scalar(statement.order_by(c.c.id.desc()).limit(1))
    return found


def _set_champion(transaction: Transaction, model: str, version: int, previous: int | None, reason: str) -> None:
    transaction.execute(update(t.models).where(t.models.c.name == model).values(champion=version))
    transaction.execute(
        insert(t.champions).values(model=model, version=version, previous=previous, reason=reason, time=transaction.now)
    )


def _set(transaction: Transaction, version: VersionRecord, **values: Any) -> None:
    v = t.versions
    transaction.execute(update(v).where(v.c.model == version.model, v.c.version == version.version).values(**values))
