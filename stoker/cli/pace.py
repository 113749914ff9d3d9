"""How fast a run goes and when it ends, from its recent steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.analysis.eta import Eta, estimate_eta
from stoker.analysis.forecast import RECENT_STEPS
from stoker.cli import units


@dataclass(frozen=True)
class Pace:
    """Tokens and examples a second over the last steps, and the time that remains (None while nothing can be said)."""

    tokens_per_second: float | None
    rows_per_second: float | None
    eta: Eta | None


def pace(metrics: Sequence[Mapping[str, Any]], total_steps: int | None) -> Pace:
    """Measure the last steps of a run."""
    timed = [step for step in metrics if step.get("seconds")]
    recent = timed[-RECENT_STEPS:]
    if not recent:
        return Pace(None, None, None)
    eta = None
    if total_steps:
        eta = estimate_eta([step["seconds"] for step in timed], total_steps - recent[-1]["step"])
    seconds = sum(step["seconds"] for step in recent)
    tokens, rows = (sum(step.get(name) or 0 for step in recent) for name in ("tokens", "rows"))
    return Pace(tokens / seconds, rows / seconds, eta)


def step_line(step: Mapping[str, Any], total_steps: int | None, pace: Pace) -> str:
    """Return one line of progress: "step 120/400  loss 1.2345  5,120 tokens/s  ETA 42 s"."""
    speed = f"{units.count(pace.tokens_per_second)} tokens/s"
    return (
        f"step {step['step']}/{total_steps or '?'}  loss {units.loss(step.get('loss'))}  {speed}  "
        f"ETA {units.eta(pace.eta)}"
    )
