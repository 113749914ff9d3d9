"""The plan of a run whose course has turned: the first plan up to each turn, and the rest laid out anew.

A pure function of the first plan and the turns, so that a resumed run trains what an undisturbed one would. Steps that are
done stay as they are; every sequence still trains exactly as often as it would have, unless its row is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stoker.train.buckets import StepSize
from stoker.train.plan import Layout, Lengths, Plan

Items = NDArray[np.int64]
Row = tuple[int, int]


@dataclass(frozen=True)
class Laid:
    """A plan, and where its steps lie in the first one: from each (step, place, pace) on a step counts as `pace` steps."""

    plan: Plan
    total_places: int
    stretches: tuple[tuple[int, float, float], ...] = ()

    def place(self, step: int) -> float:
        """Return the step of the first plan that a step corresponds to: what the schedule of the rate goes by.

        So a new batch size neither repeats the warm-up nor makes the rate jump, and it still falls to zero at the end.
        """
        for begin, place, pace in reversed(self.stretches):
            if step >= begin:
                return place + (step - begin) * pace
        return step

    def turned(self, plan: Plan, step: int) -> Laid:
        """Return the same with another plan from `step` on."""
        if plan.total_steps == self.plan.total_steps:
            return Laid(plan, self.total_places, self.stretches)
        place, left = self.place(step), max(1, plan.total_steps - step)
        stretch = (step, place, (self.total_places - place) / left)
        return Laid(plan, self.total_places, (*self.stretches, stretch))


def relaid(plan: Plan, step: int, data: Sequence[Lengths], num_new: int, size: StepSize) -> Plan:
    """Lay out what `plan` trains from `step` on in steps of another size, in the order in which it would have come."""
    rng = np.random.default_rng([int(plan.facts["seed"]), step, size.tokens, size.rows or 0])
    layout = _layout_of(plan, step, data, num_new, size, rng)
    rest = _items(plan, step, plan.total_steps)
    epochs = np.repeat(plan.epoch[step:], np.diff(plan.offsets)[step:])
    for epoch in np.unique(epochs).tolist():
        layout.add_items(epoch, rest[epochs == epoch])
    return layout.plan(plan.facts)


def without(
    plan: Plan, step: int, data: Sequence[Lengths], num_new: int, size: StepSize, rows: Collection[Row]
) -> Plan:
    """Leave rows (dataset, row) out of the steps from `step` on; a step that was all theirs goes."""
    layout = _layout_of(plan, step, data, num_new, size, np.random.default_rng(0))
    for number in range(step, plan.total_steps):
        items = _items(plan, number, number + 1)
        stays = [(int(d), int(data[d].row_index[sequence])) not in rows for d, sequence in items]
        if any(stays):
            layout.add_step(int(plan.epoch[number]), items[np.array(stays)])
    return layout.plan(plan.facts)


def _layout_of(
    plan: Plan, stop: int, data: Sequence[Lengths], num_new: int, size: StepSize, rng: np.random.Generator
) -> Layout:
    """Return a layout that holds the first `stop` steps as they are."""
    layout = Layout(data, num_new, size, rng)
    for number in range(stop):
        layout.add_step(int(plan.epoch[number]), _items(plan, number, number + 1))
    return layout


def _items(plan: Plan, start: int, stop: int) -> Items:
    span = slice(plan.offsets[start], plan.offsets[stop])
    return np.stack([plan.item_dataset[span].astype(np.int64), plan.item_sequence[span]], axis=1)
