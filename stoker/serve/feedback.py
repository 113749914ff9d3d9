"""Thumbs up and down, comments and corrections, kept beside the request they are about.

Only who made a request may rate it, and only while its prompt and answer are kept: a thumb alone teaches nothing. The
newest word counts.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from stoker.serve.access import Access, Grant
from stoker.serve.database import open_database, transaction
from stoker.serve.errors import ApiError
from stoker.serve.log import SCHEMA, VERSION

MOST_BYTES = 1 << 20
_MOST_COMMENT, _MOST_CORRECTION = 4_000, 200_000
_FIELDS = {"request_id", "rating", "comment", "correction"}


@dataclass(frozen=True)
class Feedback:
    """What somebody says about an answer."""

    request_id: str
    rating: Literal["up", "down"]
    comment: str | None = None
    correction: str | None = None


def read_feedback(body: bytes) -> Feedback:
    """Read a request's body; ApiError 400 says what is wrong with it."""
    if len(body) > MOST_BYTES:
        raise ApiError(413, f"the body has more than {MOST_BYTES:,} bytes")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(400, 'the body must be an object: {"request_id": "req_...", "rating": "up"}')
    unknown = sorted(set(found) - _FIELDS)
    if unknown:
        raise ApiError(
            400, f"unknown field {unknown[0][:64]!r}; there is {', '.join(sorted(_FIELDS))}", param=unknown[0][:64]
        )
    request_id = found.get("request_id")
    if not isinstance(request_id, str) or not 0 < len(request_id) <= 64:
        raise ApiError(400, "request_id must be the x-request-id of an answer, as req_...", param="request_id")
    rating = found.get("rating")
    if rating not in ("up", "down"):
        raise ApiError(400, 'rating must be "up" or "down"', param="rating")
    comment = _text(found, "comment", _MOST_COMMENT)
    return Feedback(request_id, rating, comment, _text(found, "correction", _MOST_CORRECTION))


def keep_feedback(access: Access, grant: Grant, feedback: Feedback) -> dict[str, Any]:
    """Keep it and return what the client is told. It waits for the disk: not for an event loop."""
    if not access.spec.keep_prompts:
        raise _not_kept("prompts and answers are not kept by this server")
    access.log.flush()
    try:
        with contextlib.closing(open_database(access.log.path, SCHEMA, VERSION)) as connection:
            row = connection.execute("SELECT * FROM requests WHERE id = ?", (feedback.request_id,)).fetchone()
            if row is None or (row["kind"], row["pass"]) != (grant.kind, grant.id):
                raise ApiError(404, "no request of yours has this id", code="request_not_found", param="request_id")
            if row["prompt"] is None or row["answer"] is None:
                raise _not_kept("this request's prompt and answer were not kept")
            with transaction(connection):
                connection.execute(
                    "INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)",
                    (feedback.request_id, access.now(), feedback.rating, feedback.comment, feedback.correction),
                )
    except (sqlite3.Error, OSError) as error:
        raise ApiError(
            503,
            f"feedback can't be kept now: {error}",
            type="server_error",
            code="not_kept",
            headers={"Retry-After": "30"},
        ) from error
    return {"object": "feedback", "request_id": feedback.request_id, "rating": feedback.rating}


def _text(found: dict[str, Any], name: str, most: int) -> str | None:
    value = found.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ApiError(400, f"{name} must be text that is not blank", param=name)
    if len(value) > most:
        raise ApiError(400, f"{name} has {len(value):,} characters; at most {most:,} are kept", param=name)
    return value


def _not_kept(why: str) -> ApiError:
    return ApiError(
        409,
        f"{why}, so feedback about it would teach nothing; whoever runs the server can set keep_prompts = true in [serve]",
        code="prompts_not_kept",
    )
