"""Keys and share links at rest, in `keys.db`: made, listed and revoked by commands, in several processes at once.

A pass is a key or a link. Only the SHA-256 of its text is kept. That keys were ever made is marked by a file beside, so that a
keys.db that was deleted is an error and never an open door.
"""

from __future__ import annotations

import contextlib
import hmac
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from stoker.errors import InvalidInput, NotAllowed, NotFound, StoreLost, UsageError
from stoker.serve.database import BUSY_SECONDS, damage_told, open_database, open_reading, transaction
from stoker.serve.keys import Kind, NotAKey, make, parse

SCOPES = ("generate", "feedback", "models")
FILE, MARK = "keys.db", "keys-were-made"
_VERSION = 1
_NAME_LENGTH = 64
_SCHEMA = """
CREATE TABLE passes (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,
    scopes TEXT NOT NULL, models TEXT, created_at REAL NOT NULL, expires_at REAL, revoked_at REAL,
    requests_per_day INTEGER, tokens_per_day INTEGER, concurrency INTEGER, requests_in_all INTEGER
);
CREATE UNIQUE INDEX one_of_a_name ON passes (kind, name) WHERE revoked_at IS NULL
"""
_LIMITS = ("requests_per_day", "tokens_per_day", "concurrency", "requests_in_all")


@dataclass(frozen=True)
class Limits:
    """What a pass may use; None: as much as it likes. Days are those of UTC."""

    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    concurrency: int | None = None
    requests_in_all: int | None = None

    def to_json(self) -> dict[str, int | None]:
        return {name: getattr(self, name) for name in _LIMITS}


@dataclass(frozen=True)
class Pass:
    """A key or a link. `models` None: all of them."""

    id: str
    kind: Kind
    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[str]
    models: frozenset[str] | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    limits: Limits

    def state(self, now: float) -> str:
        """Return "revoked", "expired" or "valid"."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "valid"

    def is_proven_by(self, digest: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.digest, digest)

    def to_json(self, now: float) -> dict[str, Any]:
        """Return what may be shown: never the digest."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state(now),
            "scopes": [scope for scope in SCOPES if scope in self.scopes],
            "models": None if self.models is None else sorted(self.models),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "revoked_at": self.revoked_at,
            **self.limits.to_json(),
        }


class Keyring:
    """The passes of a lab; each call opens the file for itself."""

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        self.path, self.mark = folder / FILE, folder / MARK
        self._now = now

    def add(
        self,
        kind: Kind,
        name: str | None,
        *,
        scopes: Collection[str] = SCOPES,
        models: Collection[str] | None = None,
        seconds: float | None = None,
        limits: Limits | None = None,
    ) -> tuple[Pass, str]:
        """Make a pass and return it with its text, which no one can read again. NotAllowed when the name is taken.

        Without a name it is called by its id.
        """
        if name is not None:
            check_name(name)
        check_scopes(scopes)
        limits = limits or Limits()
        _check_limits(limits)
        parsed, text = make(kind)
        name = parsed.id if name is None else name
        now = self._now()
        expires = None if seconds is None else now + seconds
        allowed = None if models is None else frozenset(models)
        made = Pass(parsed.id, kind, name, parsed.digest, frozenset(scopes), allowed, now, expires, None, limits)
        connection = open_database(self.path, _SCHEMA, _VERSION)
        try:
            with damage_told(self.path), transaction(connection):
                if kind == "key":  # before the key is kept: after a crash keys are asked for too early, not too late
                    self.mark.touch(mode=0o600)
                _insert(connection, made)
        except sqlite3.IntegrityError:
            raise NotAllowed(
                f"there is a {kind} {name!r} already",
                "a name means one that is not revoked",
                f"choose another name, or run: stoker serve {kind} revoke {name!r}",
            ) from None
        finally:
            connection.close()
        return made, text

    def passes(self, kind: Kind | None = None, *, busy_seconds: float = BUSY_SECONDS) -> list[Pass]:
        """Return them, oldest first. StoreLost when the file is damaged, or gone though keys were made."""
        if not self.path.exists() or self.path.stat().st_size == 0:  # empty: just being made, or cut off
            if self.mark.exists():
                raise lost(self.path)
            return []
        connection = open_reading(self.path, _VERSION, busy_seconds=busy_seconds)
        try:
            with damage_told(self.path):
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise StoreLost(f"{self.path} is damaged", str(found), "put it back from a copy, or move it away")
                rows = connection.execute("SELECT * FROM passes ORDER BY created_at, rowid").fetchall()
        finally:
            connection.close()
        return [_of(row) for row in rows if kind in (None, row["kind"])]

    def revoke(self, kind: Kind, reference: str) -> Pass:
        """Revoke by id, by name or by the whole text; one that is revoked stays as it is."""
        found = self._find(kind, reference)
        if found.revoked_at is not None:
            return found
        connection = open_database(self.path, _SCHEMA, _VERSION)
        try:
            with damage_told(self.path), transaction(connection):
                connection.execute(
                    "UPDATE passes SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (self._now(), found.id)
                )
                row = connection.execute("SELECT * FROM passes WHERE id = ?", (found.id,)).fetchone()
        finally:
            connection.close()
        return _of(row)

    def _find(self, kind: Kind, reference: str) -> Pass:
        passes = self.passes(kind)
        with contextlib.suppress(NotAKey):
            reference = parse(reference).id
        by_id = [one for one in passes if one.id == reference]
        named = [one for one in passes if one.name == reference]
        live = [one for one in named if one.revoked_at is None]
        for found in (by_id, live, named):
            if found:
                return found[-1]
        remedy = f"run: stoker serve {kind} list"
        starting = [one for one in passes if reference and one.id.startswith(reference)]
        if len(starting) > 1:
            raise UsageError(f"{reference!r} could be {', '.join(one.id for one in starting)}", "", remedy)
        if not starting:
            raise NotFound(f"no {kind} {reference!r}" if len(reference) <= 64 else f"no such {kind}", "", remedy)
        return starting[0]


def lost(path: Path) -> StoreLost:
    """Return the error for a file of keys that is gone though keys were made."""
    return StoreLost(
        f"{path} is gone or empty",
        f"keys were made in this lab ({path.parent / MARK} says so), so requests are not answered without",
        "put it back from a copy, or make new keys: stoker serve key new NAME",
    )


def check_name(name: str) -> None:
    """Raise InvalidInput for a name that is blank, long or has characters that can't be seen."""
    hidden = [char for char in name if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"]
    if hidden:
        listed = ", ".join(dict.fromkeys(f"U+{ord(char):04X}" for char in hidden))
        raise InvalidInput(
            f"the name has characters that can't be seen ({listed})", "", "write it with letters and digits"
        )
    if not name.strip() or name != name.strip() or len(name) > _NAME_LENGTH:
        rule = f"a name has 1 to {_NAME_LENGTH} characters and no space around them"
        raise InvalidInput(f"{name[:_NAME_LENGTH]!r} is no name for a key", rule, "choose another")


def check_scopes(scopes: Collection[str]) -> None:
    """Raise UsageError for a scope that does not exist."""
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        named = ", ".join(repr(scope) for scope in wrong) or "none"
        raise UsageError(
            f"no scope {named}", f"the scopes are {', '.join(SCOPES)}", "leave --scope out for all of them"
        )


def _check_limits(limits: Limits) -> None:
    for name, value in limits.to_json().items():
        if value is not None and not 1 <= value < 2**53:
            raise InvalidInput(f"{name} = {value}", "a limit is 1 or more", "leave it out for no limit")


def _insert(connection: sqlite3.Connection, one: Pass) -> None:
    values = {
        "id": one.id,
        "kind": one.kind,
        "name": one.name,
        "digest": one.digest,
        "scopes": orjson.dumps(sorted(one.scopes)).decode(),
        "models": None if one.models is None else orjson.dumps(sorted(one.models)).decode(),
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        **one.limits.to_json(),
    }
    marks = ", ".join(f":{name}" for name in values)
    connection.execute(f"INSERT INTO passes ({', '.join(values)}) VALUES ({marks})", values)


def _of(row: sqlite3.Row) -> Pass:
    models = row["models"]
    return Pass(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        digest=row["digest"],
        scopes=frozenset(orjson.loads(row["scopes"])),
        models=None if models is None else frozenset(orjson.loads(models)),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        limits=Limits(**{name: row[name] for name in _LIMITS}),
    )
