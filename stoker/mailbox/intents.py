"""Intents: what the command line asks of the supervisor, one file each in `.stoker/intents`.

The store has one writer, the supervisor; another process that wants something changed leaves an intent here
(temporary file, rename) and may wait for the reply. Intents are taken in the order they were posted and are
deleted once their effect is in the store, so each is carried out at least once; effects are idempotent by id.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stoker.durable import write_json

_REPLY = ".reply.json"
_INTENT = ".intent.json"


@dataclass(frozen=True)
class Intent:
    """`kind` is a verb of the queue, a run or a model, such as "queue.move"; `fields` are its arguments."""

    id: str
    kind: str
    fields: dict[str, Any]


def post_intent(folder: Path, kind: str, **fields: Any) -> str:
    """Leave an intent and return its id."""
    intent_id = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
    write_json(folder / f"{intent_id}{_INTENT}", {"kind": kind, "fields": fields})
    return intent_id


def pending_intents(folder: Path) -> list[Intent]:
    """Return the intents not yet carried out, oldest first."""
    intents = []
    for path in sorted(folder.glob(f"*{_INTENT}")):
        record = orjson.loads(path.read_bytes())
        intents.append(Intent(path.name.removesuffix(_INTENT), record["kind"], record["fields"]))
    return intents


def answer_intent(folder: Path, intent: Intent, *, error: dict[str, Any] | None = None, **result: Any) -> None:
    """Leave the reply and take the intent away. `error` holds what, why, remedy and exit_code."""
    write_json(folder / f"{intent.id}{_REPLY}", {"error": error, "result": result})
    (folder / f"{intent.id}{_INTENT}").unlink(missing_ok=True)


def await_reply(folder: Path, intent_id: str, timeout_seconds: float = 10.0) -> dict[str, Any] | None:
    """Return the reply and remove it, or None when none came in time (the intent stays and will be carried out)."""
    path = folder / f"{intent_id}{_REPLY}"
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if path.exists():
            reply: dict[str, Any] = orjson.loads(path.read_bytes())
            path.unlink(missing_ok=True)
            return reply
        time.sleep(0.02)
    return None
