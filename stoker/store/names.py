"""The words people use for things: whole ids, prefixes that fit one, `@latest`, `@best`, `@champion`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import Connection, select

from stoker.errors import NotFound, UsageError
from stoker.store import tables as t
from stoker.store.queries import lab_value

_LISTS = {
    "dataset": "data list",
    "job": "queue list",
    "run": "run list",
    "evaluation": "eval list",
    "trial": "train --compare FILE FILE",
    "report": "report list",
    "incident": "alert list",
}
_TABLES = {
    "dataset": t.datasets,
    "job": t.jobs,
    "run": t.runs,
    "evaluation": t.evaluations,
    "trial": t.trials,
    "report": t.reports,
    "incident": t.incidents,
}


def resolve(connection: Connection, noun: str, reference: str) -> str:
    """Return the id of the dataset, job, run or evaluation that `reference` means."""
    table = _TABLES[noun]
    ids = list(connection.scalars(select(table.c.id).order_by(table.c.number)))
    if reference == "@best" and noun == "run":
        model, version = resolve_version(connection, "@best")
        v = t.versions
        return str(connection.scalar(select(v.c.run).where(v.c.model == model, v.c.version == version)))
    return pick(reference, ids, noun, f"run: stoker {_LISTS[noun]}")


def resolve_version(connection: Connection, reference: str) -> tuple[str, int]:
    """Return (model, version) for "main/v3", "v3", "3", "main" (its champion), "@champion", "@latest", "@best"."""
    model = current_model(connection)
    name, _, number = reference.rpartition("/") if "/" in reference else ("", "", reference)
    names = list(connection.scalars(select(t.models.c.name).order_by(t.models.c.number)))
    if number in names and not name:
        name, number = number, "@champion"
    name = pick(name, names, "model", "run: stoker model list") if name else (model or "")
    if number.startswith("@"):
        return name, _by_word(connection, name, number)
    if not re.fullmatch(r"v?[0-9]{1,9}", number):
        raise NotFound(f"no version {reference!r}", "a version is written main/v3, v3 or @champion", _LIST_MODELS)
    return name, _published(connection, name, int(number.removeprefix("v")))


def current_model(connection: Connection) -> str | None:
    """Return the line that new jobs continue: the one last worked on, else the newest."""
    name: str | None = lab_value(connection, "model")
    if name is None:
        name = connection.scalar(select(t.models.c.name).order_by(t.models.c.number.desc()).limit(1))
    return name


def pick(reference: str, ids: Sequence[str], noun: str, remedy: str) -> str:
    """Return the id itself, the one id that `reference` is a prefix of, or the last for "@latest"."""
    if reference == "@latest" and ids:
        return ids[-1]
    if reference in ids:
        return reference
    matches = [candidate for candidate in ids if reference and candidate.startswith(reference)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        listed = ", ".join(matches[:6])
        raise UsageError(f"{reference!r} could be {listed}", "a prefix must fit exactly one", "write more of the id")
    raise NotFound(f"no {noun} {reference!r}", "", remedy)


_LIST_MODELS = "run: stoker model list"


def _by_word(connection: Connection, model: str, word: str) -> int:
    v = t.versions
    published = select(v.c.version).where(v.c.model == model, v.c.state == "published").order_by(v.c.version.desc())
    found: int | None
    if word == "@champion":
        found = connection.scalar(select(t.models.c.champion).where(t.models.c.name == model))
    elif word == "@latest":
        found = connection.scalar(published.limit(1))
    elif word == "@best":
        found = connection.scalar(published.where(v.c.outcome == "promoted").limit(1))
    else:
        raise NotFound(f"no version {word!r}", "the words are @champion, @latest and @best", _LIST_MODELS)
    if found is None:
        raise NotFound(f"{model or 'this lab'} has no {word.removeprefix('@')} version yet", "", _LIST_MODELS)
    return int(found)


def _published(connection: Connection, model: str, version: int) -> int:
    v = t.versions
    state = connection.scalar(select(v.c.state).where(v.c.model == model, v.c.version == version))
    if state != "published":
        why = "it was deleted" if state == "deleted" else ""
        raise NotFound(f"no version {model}/v{version}", why, _LIST_MODELS)
    return version
