"""How fast a run trained, from its folder alone: the beginning and the end of its messages, never the whole.

A pause takes no part: only the seconds of steps count.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES

_HEAD_BYTES = 256 << 10
_TAIL_BYTES = 128 << 10


@dataclass(frozen=True)
class RunPace:
    """What a run is (same `kind`: same speed to be expected), how large, and its tokens a second over its last steps."""

    kind: tuple[str, str, str]
    """Device with its CPU threads, base and method."""
    tokens: int
    total_steps: int
    tokens_per_second: float | None

    @property
    def train_seconds(self) -> float | None:
        return self.tokens / self.tokens_per_second if self.tokens_per_second else None


def run_pace(folder: Path) -> RunPace | None:
    """Return what a run's folder tells; None before its plan is known."""
    path = folder / MESSAGES
    head = JournalReader(path).read(_HEAD_BYTES)
    started, plan = _first(head, "started"), _first(head, "plan")
    if started is None or plan is None:
        return None
    offset = max(0, path.stat().st_size - _TAIL_BYTES)
    steps = [each for each in JournalReader(path, offset).read(_TAIL_BYTES) if each.get("kind") == "step"]
    speeds = [each["tokens"] / each["seconds"] for each in steps if each.get("seconds") and each.get("tokens")]
    return RunPace(
        kind=(f"{started.get('device')}, {started.get('threads')} threads", _base(folder), str(plan.get("method"))),
        tokens=int(plan.get("tokens") or 0),
        total_steps=int(plan.get("total_steps") or 0),
        tokens_per_second=statistics.harmonic_mean(speeds) if speeds else None,
    )


def _first(records: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return next((record for record in records if record.get("kind") == kind), None)


def _base(folder: Path) -> str:
    try:
        return str(orjson.loads((folder / "job.json").read_bytes())["base"]["name"])
    except (OSError, orjson.JSONDecodeError, KeyError):
        return "?"
