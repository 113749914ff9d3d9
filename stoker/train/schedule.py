"""The learning rate over a run: warm-up, constant, decay to zero (WSD: Hu et al. 2024, arXiv 2404.06395).

A function of our own step count over the whole run, so a resumed segment needs no scheduler state. The constant part
is what lets a line go on: the next run picks up a model that was cooled down only at its end, and heats it again.
"""

from __future__ import annotations

import math


def rate_factor(step: float, total_steps: int, warmup_fraction: float, decay_fraction: float) -> float:
    """Return what the peak rate is multiplied by at `step` (from 0): rises linearly, holds, falls linearly.

    The first step already learns (1/w of the peak) and the last one still does (1/d of it): zero lies at the step
    after the run. Where warm-up and decay overlap, the smaller factor holds.
    """
    warmup = math.ceil(warmup_fraction * total_steps)
    decay = round(decay_fraction * total_steps)
    rise = (step + 1) / warmup if step < warmup else 1.0
    fall = (total_steps - step) / decay if decay and step >= total_steps - decay else 1.0
    return max(0.0, min(rise, fall))
