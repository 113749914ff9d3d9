"""[watch]: what a run is watched for, and from where on it is told.

The defaults raised no alarm on the recorded clean runs of `tests/analysis/detectors/traces` and found every planted
fault; docs/watching.md has the windows. A threshold's source is in its detector's docstring.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, field_validator

from stoker.spec.base import Spec

Kind = Literal[
    "non-finite",
    "loss-spike",
    "divergence",
    "loss-outlier",
    "inverted-loss",
    "gradients-exploding",
    "gradients-vanishing",
    "plateau",
    "overfitting",
    "throughput-drop",
    "memory-trend",
    "disk-low",
    "hang",
    "accuracy-drop",
    "best-so-far",
]
"""Every kind of finding; an event about one has it as its code."""

_ACTED_ON: Final = {
    "hang": "set guard.hang_seconds to how long a worker may stand still",
    "disk-low": "set guard.disk_reserve_megabytes to what must stay free, 0 for two checkpoints alone",
}
"""Kinds that are told because something is done about them, which nobody may miss, and what changes when it is done."""


class WatchSpec(Spec):
    """[watch]: what a run is watched for, and from where on it is told."""

    enabled: bool = Field(True, description="Watch the steps of runs; false: non-finite steps alone are seen.")
    ignore: tuple[Kind, ...] = Field((), description='Kinds that are not told, for example ["plateau"].')
    cooldown_steps: int = Field(50, ge=0, le=1_000_000, description="The same kind is told again after so many steps.")
    baseline_steps: int = Field(
        32, ge=8, le=4096, description="What a step is compared with: the median of so many applied steps before it."
    )
    spike_rise: float = Field(
        1.0, gt=0, le=1000, description="A loss spike is above the baseline by this share; 1.0: twice the baseline."
    )
    spike_sigmas: float = Field(
        6.0, ge=1, le=100, description="A loss spike is also above it by so many robust standard deviations."
    )
    spike_floor: float = Field(
        0.5, ge=0, le=100, description="A loss spike is also above it by this much (nats per token)."
    )
    outlier_sigmas: float = Field(
        8.0, ge=1, le=100, description="A loss so many robust standard deviations off, up or down, is an outlier."
    )
    divergence_rise: float = Field(
        0.5, gt=0, le=1000, description="Divergence: the baseline is above its best by this share, or by a whole nat."
    )
    divergence_steps: int = Field(
        16, ge=1, le=100_000, description="Divergence: the baseline has stayed there for so many steps."
    )
    gradient_factor: float = Field(
        10.0, gt=1, le=1e6, description="Gradients explode above so many times their baseline, several times in a row."
    )
    vanishing_factor: float = Field(
        1000.0,
        gt=1,
        le=1e12,
        description="Gradients vanish below their baseline divided by this, several times in a row.",
    )
    plateau_steps: int = Field(512, ge=64, le=10_000_000, description="A plateau is at least so many steps long.")
    plateau_improvement: float = Field(
        0.01, ge=0, lt=1, description="A plateau: over its length the loss fell by less than this share."
    )
    overfitting_evaluations: int = Field(
        3, ge=1, le=1000, description="Overfitting: so many evaluations in a row above the best held-out loss."
    )
    overfitting_rise: float = Field(
        0.03, ge=0, le=100, description="Overfitting: above it by this share of the best held-out loss."
    )
    accuracy_drop: float = Field(
        0.25, gt=0, le=1, description="Accuracy on the probes fell by this much below its baseline, twice in a row."
    )
    inverted_sigmas: float = Field(
        2.33, gt=0, le=100, description="Right answers have a higher loss than wrong ones by so many standard errors."
    )

    @field_validator("ignore")
    @classmethod
    def _nothing_that_is_acted_on(cls, ignore: tuple[Kind, ...]) -> tuple[Kind, ...]:
        for kind in ignore:
            if kind in _ACTED_ON:
                raise ValueError(
                    f'"{kind}" cannot be ignored: the supervisor ends a worker or pauses a run for it, and tells so; '
                    f"take it out, and {_ACTED_ON[kind]}"
                )
        return ignore
