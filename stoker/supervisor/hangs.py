"""A worker that stands still is ended, and what it did goes on from its checkpoint as after any crash.

    the process does not move    (stopped, a lock that never comes) for the limit: it hangs, whatever it was doing
    it moves but says nothing    while training, for LIVELOCK_FACTOR limits: it turns in circles; in any other phase it works

The limit is `guard.hang_seconds`, and at least 5 times the run's median step. Time is the supervisor's own awake time: a
machine that slept, a clock that was set and a supervisor that was held up kill nothing. The worker is ended by its
process id and start time.
"""

from __future__ import annotations

from stoker.launchers import local
from stoker.store.records import AssignmentRecord
from stoker.supervisor.context import Context
from stoker.supervisor.pulse import Pulse

STEP_FACTOR = 5.0
LIVELOCK_FACTOR = 5.0


def limit_seconds(pulse: Pulse, hang_seconds: float) -> float:
    """Return how long a task may stand still."""
    return max(hang_seconds, STEP_FACTOR * (pulse.median_step_seconds or 0.0))


def is_hung(pulse: Pulse, now: float, hang_seconds: float) -> bool:
    """Tell whether a task that was looked at just now hangs."""
    limit = limit_seconds(pulse, hang_seconds)
    if pulse.stillness_seconds(now) >= limit:
        return True
    is_stepping = pulse.phase == "train" and pulse.median_step_seconds is not None
    return is_stepping and pulse.silence_seconds(now) >= LIVELOCK_FACTOR * limit


def end_hung(
    context: Context, worker_id: str, process: local.Process, task: AssignmentRecord, pulse: Pulse, now: float
) -> None:
    """Tell it and end the worker; the lane finds it gone and plans the task again."""
    silence = pulse.silence_seconds(now)
    limit = limit_seconds(pulse, context.spec.guard.hang_seconds)
    subject = {"run": task.subject} if task.kind in ("train", "prepare") else {"evaluation": task.subject}
    where = f"in phase {pulse.phase}" if pulse.phase else "before its first word"
    numbers = {
        "silence_seconds": round(silence, 1), "limit_seconds": round(limit, 1),
        "still_seconds": round(pulse.stillness_seconds(now), 1), "phase": pulse.phase,
    }  # fmt: skip
    with context.store.transaction() as transaction:
        text = (
            f"{task.subject} hangs {where}: worker {worker_id} (process {process.pid}) was silent for {silence:.0f} s"
        )
        transaction.event("warn", "hang", f"{text} (limit {limit:.0f} s)", **subject, **numbers)
        text = f"worker {worker_id} (process {process.pid}) is ended; {task.subject} goes on from its last checkpoint"
        transaction.event("warn", "recovery.worker-ended", text, **subject, pid=process.pid)
    local.kill(process)
