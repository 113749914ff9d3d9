"""Messages into the store, exactly once.

A task's messages are read from the byte offset that the store holds and entered together with the new offset, in one
transaction: a crash repeats the whole batch or none of it. Messages of an older fence than the run's are not heard.
What was measured beyond the step that a run resumed from, or was rolled back to, is forgotten. What a task's end means is
not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from stoker.mailbox.journal import JournalReader
from stoker.mailbox.messages import MESSAGES
from stoker.store import tables as t
from stoker.store.series import forget_after
from stoker.store.store import Transaction, set_fields
from stoker.supervisor import measured, steering

Message = dict[str, Any]
_CAN_WAIT = (b'"kind":"step"', b'"kind":"layers"')
_SAMPLE = ("step", "probe", "prompt", "expected", "answer", "is_match", "nll", "time")
_COMPARISON = (
    "candidate", "against", "benchmark", "metric", "n", "candidate_score", "against_score", "difference", "low", "high",
    "p_value", "outcome", "minimum_detectable_effect", "p_value_corrected", "is_primary",
)  # fmt: skip


class Tail:
    """Tells cheaply whether a task's messages have grown, and whether what is new can wait for more."""

    def __init__(self, folder: Path, offset: int) -> None:
        self.path = folder / MESSAGES
        self._looked_to = offset
        self._has_end = False

    def has_news(self, offset: int) -> bool:
        return self._size() > offset

    def is_urgent(self) -> bool:
        """Tell whether something other than steps arrived since the last look."""
        size = self._size()
        if size > self._looked_to:
            with self.path.open("rb") as file:
                file.seek(self._looked_to)
                new = file.read(size - self._looked_to)
            self._looked_to = size
            self._has_end = any(line and not _can_wait(line[:64]) for line in new.split(b"\n"))
            return self._has_end
        return self._has_end

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def _can_wait(head: bytes) -> bool:
    return any(kind in head for kind in _CAN_WAIT)


def read_run(transaction: Transaction, run_id: str, folder: Path) -> list[Message]:
    """Enter a run's new messages; return those that were heard."""
    row = transaction.first(select(t.runs.c.offset, t.runs.c.fence).where(t.runs.c.id == run_id))
    assert row is not None, run_id
    reader = JournalReader(folder / MESSAGES, row.offset)
    heard = [message for message in reader.read() if message.get("fence") == row.fence]
    enter_run(transaction, run_id, heard)
    if reader.offset != row.offset:
        set_fields(transaction, t.runs, run_id, offset=reader.offset)
    return heard


def read_evaluation(transaction: Transaction, evaluation_id: str, folder: Path) -> list[Message]:
    """Enter an evaluation's new messages; return them."""
    offset = transaction.scalar(select(t.evaluations.c.offset).where(t.evaluations.c.id == evaluation_id))
    reader = JournalReader(folder / MESSAGES, int(offset))
    messages = reader.read()
    for message in messages:
        if message["kind"] == "phase":
            set_fields(transaction, t.evaluations, evaluation_id, phase=message["name"])
        elif message["kind"] == "event":
            _enter_event(transaction, message, evaluation=evaluation_id)
        elif message["kind"] == "result" and "comparisons" in message:
            _enter_comparisons(transaction, evaluation_id, message["comparisons"])
    if reader.offset != offset:
        set_fields(transaction, t.evaluations, evaluation_id, offset=reader.offset)
    return messages


def enter_run(transaction: Transaction, run_id: str, messages: Sequence[Message]) -> None:
    """Enter messages of a run in order; steps between two others in bulk."""
    for is_measured, group in groupby(messages, key=lambda message: message["kind"] in measured.KINDS):
        if is_measured:
            measured.enter(transaction, run_id, list(group))
            continue
        for message in group:
            _enter_other(transaction, run_id, message)
    measured.count(transaction, run_id, messages)


def _enter_other(transaction: Transaction, run_id: str, message: Message) -> None:
    kind = message["kind"]
    if kind == "phase":
        set_fields(transaction, t.runs, run_id, phase=message["name"])
    elif kind == "plan":
        set_fields(transaction, t.runs, run_id, total_steps=message["total_steps"])
    elif kind == "started":
        measured.forget_beyond(transaction, run_id, message.get("resumed_from"))
        if message.get("resumed_from") is not None:
            _enter_resumed(transaction, run_id, message)
    elif kind == "rollback":
        forget_after(transaction, run_id, message["to_step"])
        _forget_samples_after(transaction, run_id, message["to_step"])
        set_fields(transaction, t.runs, run_id, step=message["to_step"])
    elif kind == "quarantined":
        _enter_quarantined(transaction, run_id, message)
    elif kind == "skipped":
        _enter_skipped(transaction, run_id, message)
    elif kind == "sample":
        _enter_sample(transaction, run_id, message)
    elif kind == "checkpoint":
        set_fields(transaction, t.runs, run_id, checkpoint_step=message["step"])
    elif kind == "damaged":
        text = f"{run_id}: {message['folder']} is damaged and was set aside: {message['file']}: {message['reason']}"
        transaction.event("warn", "checkpoint.damaged", text, run=run_id, time=message["time"])
    elif kind == "change":
        steering.enter_change(transaction, run_id, message)
    elif kind == "event":
        _enter_event(transaction, message, run=run_id)


def _forget_samples_after(transaction: Transaction, run_id: str, step: int) -> None:
    s = t.samples
    transaction.execute(s.delete().where(s.c.run == run_id, s.c.step > step))


def _enter_sample(transaction: Transaction, run_id: str, message: Message) -> None:
    """Enter a probe's answer; a step that is done again replaces it."""
    statement = upsert(t.samples).values(run=run_id, **{name: message[name] for name in _SAMPLE})
    replace = {name: statement.excluded[name] for name in _SAMPLE}
    transaction.execute(statement.on_conflict_do_update(index_elements=["run", "step", "probe"], set_=replace))


def _enter_resumed(transaction: Transaction, run_id: str, message: Message) -> None:
    step = message["resumed_from"]
    set_fields(transaction, t.runs, run_id, step=step)
    transaction.event("info", "run.resumed", f"{run_id} goes on from step {step}", run=run_id, time=message["time"])


def _enter_skipped(transaction: Transaction, run_id: str, message: Message) -> None:
    """Tell a step that was not applied: not finite (numbers that aren't are null in a message), or refused as a spike."""
    text = f"{run_id} step {message['step']} was not applied: {message['reason']}"
    data = {name: message.get(name) for name in ("step", "loss", "grad_norm")}
    code = "step.skipped" if None in data.values() else "step.refused"
    transaction.event("warn", code, text, run=run_id, time=message["time"], **data)


def _enter_quarantined(transaction: Transaction, run_id: str, message: Message) -> None:
    """Move rows that training can't take from trained to quarantined; the sum of a dataset's rows stays."""
    dataset_id = message["dataset"]
    num_new = 0
    for found in message["rows"]:
        statement = upsert(t.row_quarantines).values(
            dataset=dataset_id, row=str(found["row"]), line=found.get("line"), code=found["code"],
            reason=found["reason"], run=run_id,
        )  # fmt: skip
        num_new += transaction.execute(statement.on_conflict_do_nothing()).rowcount
    if not num_new:
        return
    d: Table = t.datasets
    moved = {"train": d.c.train - num_new, "quarantined": d.c.quarantined + num_new}
    transaction.execute(update(d).where(d.c.id == dataset_id).values(**moved))
    code, reason, time = message["rows"][0]["code"], message["rows"][0]["reason"], message["time"]
    if code == "loss-spike":  # told as what the run did about the spike
        text = f"{num_new:,} rows of {dataset_id} are put aside for review by {run_id}: {reason}"
        transaction.event("info", "rows.quarantined", text, dataset=dataset_id, time=time)
        return
    text = f"{num_new:,} rows of {dataset_id} can't be trained and were quarantined: {reason}"
    transaction.event("warn", "rows.quarantined", text, run=run_id, dataset=dataset_id, time=time)


def _enter_event(transaction: Transaction, message: Message, **subject: str) -> None:
    named = ("severity", "code", "text")
    data = message.get("data") or {}
    severity, code, text = (message[name] for name in named)
    transaction.event(severity, code, text, time=message["time"], **subject, details=data)


def _enter_comparisons(transaction: Transaction, evaluation_id: str, comparisons: Sequence[Message]) -> None:
    """Replace an evaluation's comparisons: a second attempt concludes anew."""
    c = t.comparisons
    transaction.execute(c.delete().where(c.c.evaluation == evaluation_id))
    rows = [{"evaluation": evaluation_id, **{name: row.get(name) for name in _COMPARISON}} for row in comparisons]
    if rows:
        transaction.execute(insert(c), rows)
