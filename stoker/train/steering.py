"""Carrying out what is asked of a run between two steps: parameters to set, a step to go back to, rows to leave out.

What is asked is tried first, then made durable in the course, then told; it takes effect when the next segment begins, in
this process or in another. A request that is in the course already is only told again, so that asking twice does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stoker.errors import InvalidInput, UserError
from stoker.spec.jobs import Request
from stoker.spec.live import SHAPE, check_changes
from stoker.train.course import Entry, turn_at
from stoker.train.resolve import Settings

if TYPE_CHECKING:
    from stoker.train.healing import Remedy
    from stoker.train.segment import Run

_HALF = 0.5


@dataclass(frozen=True)
class RolledBack:
    """The run goes on from the checkpoint of step `to` (0: from its start)."""

    to: int


def steer(run: Run, requests: Sequence[Request]) -> RolledBack | None:
    """Carry out what is asked, in order, up to a rollback; what follows one is asked again."""
    for request in requests:
        known = run.course.find(request.id)
        if known is not None:
            tell(run, known)
        elif request.kind == "set":
            set_live(run, request)
        else:
            back = roll_back(run, request, "asked")
            if back is not None:
                return back
    return None


def heal(run: Run, remedies: Sequence[Remedy]) -> RolledBack | None:
    """Carry out what the run's recovery decided."""
    for remedy in remedies:
        known = run.course.find(remedy.request)
        if known is not None:
            tell(run, known)
        elif remedy.action == "rollback":
            request = Request(id=remedy.request, kind="rollback")
            return roll_back(run, request, remedy.reason, is_rate_halved=remedy.is_rate_halved)
        else:
            _put_right(run, remedy)
    return None


def set_live(run: Run, request: Request, reason: str = "asked") -> bool:
    """Change parameters from the present step on, all or none; return whether it was done."""
    old = {name: in_force(run.settings, name) for name in request.changes}
    try:
        changes = check_changes(request.changes)
        old |= {name: in_force(run.settings, name) for name in changes}
        _try_out(run, changes)
    except UserError as error:
        _refuse(run, request, {name: [old[name], request.changes[name]] for name in request.changes}, str(error))
        return False
    pairs = {name: [old[name], value] for name, value in changes.items()}
    _make(run, {"kind": "set", "request": request.id, "step": run.progress.step, "changes": pairs, "reason": reason})
    text = ", ".join(f"{name} {_shown(before)} -> {_shown(after)}" for name, (before, after) in pairs.items())
    run.outbox.event(
        "info", "run.changed", f"after step {run.progress.step}: {text} ({reason})", step=run.progress.step
    )
    return True


def roll_back(run: Run, request: Request, reason: str, *, is_rate_halved: bool = False) -> RolledBack | None:
    """Go back to a checkpoint, and on from there; None (told) when that can't be.

    The halved rate is half of the lower one of those in force here and there: what went wrong may be a rate set since.
    """
    step, rate = run.progress.step, None
    try:
        to = _target(run, request.to)
    except UserError as error:
        _refuse(run, request, {"rollback": [step, request.to]}, str(error))
        return None
    if is_rate_halved:
        there = run.settings_with(turn_at(run.course.turns(), to).live).learning_rate
        rate = _HALF * min(run.settings.learning_rate, there)
    changes = {} if rate is None else {"learning_rate": [run.settings.learning_rate, rate]}
    leg = run.course.leg + 1
    _make(run, {
        "kind": "rollback", "request": request.id, "leg": leg, "from": step, "to": to, "changes": changes, "reason": reason,
    })  # fmt: skip
    run.checkpoints.retire_abandoned(run.course.is_abandoned)
    run.outbox.send("rollback", request=request.id, from_step=step, to_step=to, leg=leg, reason=reason)
    with_rate = "" if rate is None else f", learning rate {_shown(changes['learning_rate'][0])} -> {_shown(rate)}"
    text = f"back from step {step} to step {to}, optimizer and random states included{with_rate}: {reason}"
    severity = "info" if reason == "asked" else "warn"
    code = "run.rolled-back" if reason == "asked" else "recovery.rolled-back"
    run.outbox.event(severity, code, text, from_step=step, to_step=to, leg=leg, rate=rate)  # type: ignore[arg-type]
    return RolledBack(to)


def tell(run: Run, entry: Entry) -> None:
    """Say what was made of a request; the supervisor hears it once, however often it is said."""
    request, step = entry["request"], entry.get("step", entry.get("to"))
    state = "rejected" if entry["kind"] == "refused" else "applied"
    changes: dict[str, Any] = dict(entry.get("changes", {}))
    if entry.get("rows"):
        _tell_left_out(run, entry)
    if entry["kind"] == "rollback":
        changes["rollback"] = [entry["from"], entry["to"]]
    for name, (old, new) in changes.items():
        run.outbox.send(
            "change", request=request, name=name, old=old, new=new, state=state, step=step, reason=entry["reason"]
        )


def in_force(settings: Settings, name: str) -> Any:
    """Return a live parameter's present value; "auto" where it follows from others."""
    resolved = name in ("learning_rate", "batch_tokens", "accumulation")
    return getattr(settings if resolved else settings.train, name)


def _put_right(run: Run, remedy: Remedy) -> None:
    """Put the batches of some steps aside, halve the rate, or both, as one entry."""
    step, rate = run.progress.step, run.settings.learning_rate
    changes = {"learning_rate": [rate, _HALF * rate]} if remedy.is_rate_halved else {}
    rows = sorted({row for number in remedy.steps for row in _new_rows(run, number)})
    _make(run, {
        "kind": "leave-out" if rows else "set", "request": remedy.request, "step": step, "rows": rows, "changes": changes,
        "reason": remedy.reason,
    })  # fmt: skip
    if rows:
        text = f"{len(rows)} rows are put aside for review: {remedy.reason}"
        run.outbox.event("warn", "recovery.batch-quarantined", text, step=step, rows=len(rows))
    if changes:
        text = f"learning rate {_shown(rate)} -> {_shown(_HALF * rate)} after step {step}: {remedy.reason}"
        run.outbox.event("warn", "recovery.rate-halved", text, step=step, old=rate, new=_HALF * rate)


def _new_rows(run: Run, step: int) -> list[tuple[int, int]]:
    """Return (dataset, row) of the rows of a finished step that the run's own file brought."""
    return [
        (dataset, int(run.rows.lengths[dataset].row_index[sequence]))
        for dataset, sequence in run.plan.items(step - 1)
        if dataset < len(run.rows.new)
    ]


def _tell_left_out(run: Run, entry: Entry) -> None:
    for dataset in sorted({dataset for dataset, _ in entry["rows"]}):
        tokens = run.rows.encoded[dataset]
        rows = [
            {
                "row": tokens.row_ids[row],
                "line": int(tokens.lines[row]),
                "code": "loss-spike",
                "reason": entry["reason"],
            }
            for number, row in entry["rows"]
            if number == dataset
        ]
        run.outbox.send("quarantined", dataset=run.plan.datasets[dataset], rows=rows)


def _make(run: Run, entry: Entry) -> None:
    run.course.record(entry)
    tell(run, entry)


def _refuse(run: Run, request: Request, changes: dict[str, Any], reason: str) -> None:
    step = run.progress.step
    _make(run, {"kind": "refused", "request": request.id, "step": step, "changes": changes, "reason": reason})
    run.outbox.event("warn", "run.change-refused", f"{', '.join(changes)} stays as it is: {reason}", step=step)


def _try_out(run: Run, changes: dict[str, Any]) -> None:
    """Fit the rest of the run into memory as it would be; InvalidInput when it can't be computed as asked."""
    if not set(SHAPE) & changes.keys():
        return
    live = {**turn_at(run.course.turns(), run.progress.step).live, **changes}
    settings = run.settings_with(live)
    memory = run.fit(settings, run.laid_with(settings, run.progress.step).plan)
    asked = changes.get("accumulation", "auto")
    if asked != "auto" and memory.accumulation > asked:
        raise InvalidInput(
            f"accumulation = {asked} does not fit in memory",
            f"a step of {settings.batch_tokens} tokens needs {memory.accumulation} parts",
            f"set accumulation={memory.accumulation}, or a smaller batch",
        )


def _target(run: Run, to: int | str) -> int:
    """Return the step to go back to; InvalidInput names those there are."""
    step = run.progress.step
    steps = [found for found in run.checkpoints.verified_steps() if found <= step]
    if to == "best":
        best = run.progress.best_step
        return best if best in steps else next((found for found in reversed(steps) if found < step), 0)
    if to == 0 or to in steps:
        return int(to)
    there = ", ".join(map(str, [0, *steps]))
    raise InvalidInput(
        f"there is no checkpoint of step {to}", f"there are those of {there}", "name one of them, or best"
    )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
