"""When a run and the queue will be done: this run's own steps first, past runs on the same hardware before it has any, and
the size of the file before its plan is known. Time in pauses and in waiting is not counted.

The one forecast of a lab: the command line and the daily report both show what is said here, with its 80 % interval. It is the
part of `analysis` that asks the store, through the reader it is given; nothing a worker imports may import it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stoker.analysis.eta import Eta, estimate_eta, estimate_from_past, in_turn
from stoker.mailbox.paces import RunPace, run_pace

if TYPE_CHECKING:
    from stoker.store.reader import Reader

RECENT_STEPS = 50
"""Steps that the speed of a run is measured over."""
_ETA_STEPS = 2000  # that the remaining time looks back over, at most
_PAST_RUNS = 8
_OWN_STEPS = 10


@dataclass(frozen=True)
class Past:
    """A finished run: its pace, the bytes of its file, and the seconds of loading, saving and judging beside its steps."""

    pace: RunPace
    num_bytes: int
    beside_seconds: float | None


def recent_metrics(reader: Reader, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the last steps of a run: as many as speed and remaining time look back over."""
    remaining = (run["total_steps"] or 0) - run["step"]
    return reader.metrics(run["id"], after_step=run["step"] - min(_ETA_STEPS, max(RECENT_STEPS, remaining)))


def past_runs(reader: Reader) -> list[Past]:
    """Return the newest finished runs that have a pace."""
    done = [run["id"] for run in reader.runs() if run["state"] == "done"][-_PAST_RUNS:]
    judged_at = {each["run"]: each["ended_at"] for each in reader.evaluations() if each["run"] and each["ended_at"]}
    found = []
    for run_id in done:
        pace = run_pace(reader.workspace.run(run_id))
        if pace is not None and pace.train_seconds is not None:
            detail = reader.run_detail(run_id)
            end = judged_at.get(run_id) or detail["ended_at"]
            is_whole = len(detail["starts"]) == 1 and end and detail["started_at"]
            beside = max(0.0, end - detail["started_at"] - pace.train_seconds) if is_whole else None
            found.append(Past(pace, int(reader.dataset_detail(detail["dataset"])["bytes"]), beside))
    return found


def run_eta(
    reader: Reader, run: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], past: Sequence[Past] | None = None
) -> Eta | None:
    """Return when the last step of a run is done; None once it is over or while nothing can be said."""
    if run["state"] not in ("queued", "running", "paused", "parked"):
        return None
    seconds = [step["seconds"] for step in metrics if step["seconds"]]
    total = run["total_steps"]
    if total and len(seconds) >= _OWN_STEPS:
        return estimate_eta(seconds, total - metrics[-1]["step"])
    known = past_runs(reader) if past is None else past
    own = run_pace(reader.workspace.run(run["id"]))
    if own is not None and own.total_steps:
        left = own.tokens * (1 - run["step"] / own.total_steps)
        alike = [(each.pace.tokens, each.pace.train_seconds or 0.0) for each in known if each.pace.kind == own.kind]
        return estimate_from_past(alike, left) or (estimate_eta(seconds, total - run["step"]) if total else None)
    num_bytes = int(reader.dataset_detail(run["dataset"])["bytes"])
    return estimate_from_past([(each.num_bytes, each.pace.train_seconds or 0.0) for each in known], num_bytes)


def queue_etas(reader: Reader, queue: Sequence[Mapping[str, Any]]) -> tuple[list[Eta | None], Eta | None]:
    """Return for each job when its run ends and is judged, in turn, and when all are done (None where unknown).

    Jobs that a person holds or that are parked have none and take no time: nobody knows when they go on. Where there are no
    others there is nothing to forecast.
    """
    past = past_runs(reader)
    beside = [each.beside_seconds for each in past if each.beside_seconds is not None]
    extra = statistics.median(beside) if beside else 0.0
    ends: list[Eta | None] = []
    before: Eta | None = Eta(0.0, 0.0, 0.0)
    for job in queue:
        own = None
        if job["state"] in ("queued", "running", "paused"):
            run = reader.run_detail(job["run"])
            own = run_eta(reader, run, recent_metrics(reader, run), past)
            before = in_turn([before, own, Eta(extra, extra, extra)]) if before and own else None
            own = before
        ends.append(own)
    return ends, before if any(ends) else None
