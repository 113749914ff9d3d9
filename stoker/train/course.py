"""The course of a run: everything that makes it differ from its job, in `course.jsonl` of its folder.

    {"kind": "set", "request", "step", "changes": {name: [old, new]}, "reason"}      holds from that step on
    {"kind": "leave-out", "request", "step", "rows": [[dataset, row], ...], "changes", "reason"}  these rows train no more
    {"kind": "rollback", "request", "leg", "from", "to", "changes", "reason"}        the run goes on from step `to`
    {"kind": "refused", "request", "changes": {name: [old, new]}, "step", "reason"}  asked, and not carried out

Append-only, and durable before its effect: what a run does at a step is a fold of its job and its course, so a worker that
goes on from a checkpoint comes through the same changes at the same steps. Steps are numbers of finished steps: a change at
step 7 holds for the eighth step. A leg is the stretch between two rollbacks; what an abandoned leg did after the step to
which the run went back never happened, but the parameters set there stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stoker.durable import fsync_path
from stoker.faults import fault_point
from stoker.mailbox.journal import JournalReader, JournalWriter

COURSE = "course.jsonl"

Entry = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What holds from `step` on: settings other than the job's, and rows (dataset, row) that are left out."""

    step: int
    live: dict[str, Any] = field(default_factory=dict)
    left_out: frozenset[tuple[int, int]] = frozenset()
    is_rollback: bool = False

    def also(self, live: dict[str, Any], left_out: frozenset[tuple[int, int]]) -> Turn:
        """Return this turn with other parameters and rows on top of it."""
        return replace(self, live={**self.live, **live}, left_out=self.left_out | left_out)


class Course:
    """The journal of one run. Only the holder of the run's lock may write it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / COURSE
        self.entries: list[Entry] = []
        reader = JournalReader(self.path)
        while records := reader.read():
            self.entries += records

    def record(self, entry: Entry) -> None:
        """Make an entry durable."""
        is_new = not self.path.exists()
        writer = JournalWriter(self.path)
        try:
            writer.append(entry)
            writer.sync()
        finally:
            writer.close()
        if is_new:
            fsync_path(self.path.parent)
        self.entries.append(entry)
        fault_point("course.entry")

    def find(self, request: str) -> Entry | None:
        """Return what was made of a request, or None while it is new."""
        return next((entry for entry in self.entries if entry["request"] == request), None)

    @property
    def leg(self) -> int:
        return self.count("rollback")

    def count(self, kind: str, by: str = "") -> int:
        """Return how many entries of a kind there are; `by`: of requests that begin so."""
        return sum(entry["kind"] == kind and entry["request"].startswith(by) for entry in self.entries)

    def count_changes(self, name: str, by: str) -> int:
        """Return how often requests that begin with `by` changed a parameter."""
        return sum(name in entry.get("changes", ()) and entry["request"].startswith(by) for entry in self.entries)

    def turns(self) -> list[Turn]:
        """Return the turns of the present leg, in order; of several at one step only what they come to.

        A crash may put a run back before changes that are written down: what is asked then holds from there on, over
        what was set at those later steps before.
        """
        turns = [Turn(0)]
        for entry in self.entries:
            if entry["kind"] == "refused":
                continue
            if entry["kind"] == "rollback":
                step = entry["to"]
                turns = [*(turn for turn in turns if turn.step < step), replace(turns[-1], step=step, is_rollback=True)]
            else:
                step = entry["step"]
                turns = _with_turn(turns, step)
            live = {name: new for name, (_, new) in entry.get("changes", {}).items()}
            rows = frozenset((int(dataset), int(row)) for dataset, row in entry.get("rows", ()))
            turns = [turn if turn.step < step else turn.also(live, rows) for turn in turns]
        return turns

    def is_abandoned(self, leg: int, step: int) -> bool:
        """Tell whether a state of this leg and step lies on a way that the run went back from."""
        return any(step > entry["to"] for entry in self.entries if entry["kind"] == "rollback" and entry["leg"] > leg)


def turn_at(turns: Iterable[Turn], step: int) -> Turn:
    """Return the turn that holds for the step after `step` finished ones."""
    return [turn for turn in turns if turn.step <= step][-1]


def turn_before(turns: Iterable[Turn], step: int) -> Turn:
    """Return the turn that held for the step before."""
    return [turn for turn in turns if turn.step < step or turn.step == 0][-1]


def next_turn_step(turns: Iterable[Turn], step: int) -> int | None:
    """Return the step of the first turn after `step`."""
    return next((turn.step for turn in turns if turn.step > step), None)


def _with_turn(turns: list[Turn], step: int) -> list[Turn]:
    """Return the turns with one at `step`: a new one repeats what holds there."""
    if any(turn.step == step for turn in turns):
        return turns
    new = replace(turn_at(turns, step), step=step, is_rollback=False)
    return [*(turn for turn in turns if turn.step < step), new, *(turn for turn in turns if turn.step > step)]
