"""How fast a run goes and when it ends, from its recent steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.cli import units

RECENT_STEPS = 50


@dataclass(frozen=True)
class Pace:
    """Tokens a second over the last steps, and the seconds that remain (None while nothing can be said)."""

    tokens_per_second: float | None
    remaining_seconds: float | None


def pace(metrics: Sequence[Mapping[str, Any]], total_steps: int | None) -> Pace:
    """Measure the last steps of a run."""
    from stoker.analysis.eta import estimate_eta

    recent = [step for step in metrics[-RECENT_STEPS:] if step.get("seconds")]
    seconds = sum(step["seconds"] for step in recent)
    tokens = sum(step.get("tokens") or 0 for step in recent)
    eta = None
    if recent and total_steps:
        eta = estimate_eta([step["seconds"] for step in recent], total_steps - recent[-1]["step"])
    return Pace(tokens / seconds if seconds else None, eta.seconds if eta else None)


def step_line(step: Mapping[str, Any], total_steps: int | None, pace: Pace) -> str:
    """Return one line of progress: "step 120/400  loss 1.2345  5,120 tokens/s  ETA 42 s"."""
    speed = f"{units.count(pace.tokens_per_second)} tokens/s"
    return (
        f"step {step['step']}/{total_steps or '?'}  loss {units.loss(step.get('loss'))}  {speed}  "
        f"ETA {units.duration(pace.remaining_seconds)}"
    )
