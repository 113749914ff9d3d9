"""A plan that mixes rows that are known with rows that are new: its losses are of two kinds, and neither is a fault."""

from __future__ import annotations

import random

import pytest

from stoker.analysis.detectors.watch import Watch
from stoker.spec.watching import WatchSpec


@pytest.mark.parametrize("seed", range(10))
def test_stretches_of_known_and_of_new_rows_are_no_divergence(seed: int) -> None:
    draw, watch, found = random.Random(seed), Watch(WatchSpec()), []
    for step in range(1, 1001):
        share_new = 0.35 + 0.3 * draw.random() if step % 64 < 32 else 0.5
        is_new = draw.random() < share_new
        loss = (3.5 - step / 500 if is_new else 0.01) * draw.uniform(0.8, 1.2)
        found += watch.after_step(step, loss, 0.2, True)
    assert {one.kind for one in found if one.severity != "info"} == set()


def test_among_them_a_level_that_neither_had_diverges() -> None:
    draw, watch = random.Random(1), Watch(WatchSpec())
    for step in range(1, 401):
        watch.after_step(step, (2.5 if draw.random() < 0.5 else 0.01) * draw.uniform(0.8, 1.2), 0.2, True)
    found = [one for step in range(401, 500) for one in watch.after_step(step, draw.uniform(5.0, 6.0), 0.2, True)]
    assert next(one.step for one in found if one.kind == "divergence") <= 448
