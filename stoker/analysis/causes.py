"""Which events have one cause: what each code does to an incident.

A pure table. A code that is not in it and is not merely information makes an incident of its own kind "other", so
nothing that needs a person is lost because nobody listed it. What people did themselves is no incident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Role = Literal["opens", "tells", "worsens", "joins", "recovers", "closes"]
Subject = Literal["own", "dataset", "job", "lab", "channel"]
ALL_KINDS: Final = ()


@dataclass(frozen=True)
class Cause:
    """What an event does.

    `role`: opens an incident of the first of `kinds`, or joins one of them that is open; tells of something that is over with
    the telling, and ends an open incident of `kinds`; worsens the subject's open incident, or opens one; joins the
    subject's open incident, if any; recovers or closes (a person did it) the subject's open incidents of `kinds`, () for
    all. `subject`: "own" is the run, else the evaluation, else the dataset, else the lab; "job" is every run of its job.
    """

    role: Role
    kinds: tuple[str, ...] = ALL_KINDS
    subject: Subject = "own"


def _opens(*kinds: str, subject: Subject = "own") -> tuple[Cause, ...]:
    return (Cause("opens", kinds, subject),)


def _tells(kind: str, subject: Subject = "own") -> tuple[Cause, ...]:
    return (Cause("tells", (kind,), subject),)


_DETECTED = (
    "loss-spike", "divergence", "loss-outlier", "inverted-loss", "gradients-vanishing", "plateau", "overfitting",
    "throughput-drop", "memory-trend", "hang", "accuracy-drop", "non-finite",
)  # fmt: skip
_DISK_GOES_ON = Cause("recovers", ("disk",), "lab")
_BY_HAND: tuple[Cause, ...] = ()

CAUSES: Final[Mapping[str, tuple[Cause, ...]]] = {
    **{code: _opens(code) for code in _DETECTED},
    # a run and its worker
    "run.crashed": _opens("crash", "hang"),  # a worker that hung is ended, and its run is lost with it
    "run.interrupted": _opens("crash", "hang"),
    "step.skipped": _opens("non-finite"),
    "step.refused": _opens("loss-spike"),
    "gradients-exploding": _opens("gradients-exploding", "loss-spike", "non-finite", "divergence"),
    "run.parked": (Cause("worsens", ("crash",)),),
    "run.failed": (Cause("worsens", ("failed",)),),
    "run.done": (Cause("recovers"), _DISK_GOES_ON),
    "run.stopped": (Cause("closes"),),
    "run.replaced": (Cause("closes", subject="job"),),
    "queue.retried": (Cause("closes", subject="job"),),
    "queue.removed": (Cause("closes", subject="job"),),
    "best-so-far": (
        Cause("recovers", ("divergence", "loss-spike", "loss-outlier", "overfitting", "plateau", "accuracy-drop")),
    ),
    # what Stoker did about it; every other code that begins with recovery. joins
    "recovery.paused": (Cause("joins", ("memory-trend",)), Cause("joins", ("disk",), "lab")),
    "recovery.resumed": (Cause("recovers", ("memory-trend",)),),
    "recovery.gave-up": (Cause("worsens", ("recovery",)),),
    # the disk is the lab's: one cause, however many wait for it
    "disk-low": _opens("disk", subject="lab"),
    "disk-full": _opens("disk", subject="lab"),
    "checkpoints.removed": (Cause("joins", subject="lab"),),
    "disk.free": (_DISK_GOES_ON,),
    # files and their rows
    "file.rejected": (Cause("tells", ("rejected", "intake"), "dataset"),),
    "intake.crashed": _opens("intake", subject="dataset"),
    "dataset.ready": (Cause("recovers", ("intake",), "dataset"), _DISK_GOES_ON),
    "dataset.waiting": (*_opens("waiting", subject="dataset"), Cause("recovers", ("intake",), "dataset")),
    "dataset.approved": (Cause("closes", ("waiting",), "dataset"),),
    "dataset.rolled-back": (Cause("closes", ("waiting",), "dataset"),),
    "dataset.poor": _tells("data", "dataset"),
    "dataset.empty": (*_tells("data", "dataset"), Cause("recovers", ("intake",), "dataset")),
    "dataset.kept": (Cause("recovers", ("intake",), "dataset"),),
    "rows.quarantined": _tells("data", "dataset"),
    # evaluations
    "evaluation.crashed": _opens("evaluation"),
    "evaluation.failed": (Cause("worsens", ("evaluation",)),),
    "evaluation.unreadable": _tells("evaluation"),
    "evaluation.forgotten": _tells("evaluation"),
    "verdict": (Cause("recovers", ("evaluation",)), _DISK_GOES_ON),
    # the rest
    "evaluation.left-out": _tells("evaluation"),
    "checkpoint.damaged": _tells("checkpoint"),
    "moments.fresh": _tells("checkpoint"),
    "plan.changed": _tells("checkpoint"),
    "resume.inexact": _tells("checkpoint"),
    "memory.tight": _tells("memory-trend"),
    "settings.refused": _tells("settings", "lab"),
    "model.new-line": _tells("settings", "lab"),
    "trial.failed": _tells("trial", "lab"),
    "store.put-back": _tells("store", "lab"),
    "report.failed": _tells("report", "lab"),
    "alerts.unreachable": _opens("notifier", subject="channel"),
    "alerts.reachable": (Cause("recovers", ("notifier",), "channel"),),
    # by a person's hand
    "version.rolled-back": _BY_HAND,
    "version.deleted": _BY_HAND,
    "run.change-refused": _BY_HAND,
}

SETTLES_AFTER_STEPS: Final[Mapping[str, int]] = {
    "crash": 1, "hang": 1, "memory-trend": 20, "throughput-drop": 50,
    "non-finite": 20, "loss-spike": 20, "loss-outlier": 20, "divergence": 20, "gradients-exploding": 20,
    "gradients-vanishing": 100,
}  # fmt: skip
"""An incident of these kinds is over once its run came this many steps past the furthest step it was seen at."""


def causes_of(code: str, severity: str) -> tuple[Cause, ...]:
    """Return what an event does, in order; () when it has to do with no incident.

    Information opens nothing, whatever its code.
    """
    known = CAUSES.get(code)
    if known is None and code.startswith("recovery."):
        known = (Cause("joins"),)
    if known is None:
        return () if severity == "info" else _tells("other")
    if severity == "info":
        return tuple(cause for cause in known if cause.role not in ("opens", "tells", "worsens")) or _joins_if(known)
    return known


def step_of(data: Mapping[str, Any] | None) -> int | None:
    """Return the step that an event's data names, its own or a worker's details."""
    data = data or {}
    for facts in (data, data.get("details") or {}):
        step = facts.get("step", facts.get("from_step")) if isinstance(facts, Mapping) else None
        if isinstance(step, int | float) and not isinstance(step, bool):
            return int(step)
    return None


def _joins_if(known: tuple[Cause, ...]) -> tuple[Cause, ...]:
    return (Cause("joins", known[0].kinds, known[0].subject),) if known else ()
