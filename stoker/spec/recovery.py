"""[recover]: what a run does about what is found in it. One key per kind; "tell" only tells."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stoker.spec.base import Spec


class RecoverSpec(Spec):
    """[recover]: what a run does by itself when it goes wrong."""

    divergence: Literal["rollback", "halve-rate", "tell"] = Field(
        "rollback", description="The loss rises and stays up. rollback: to the best checkpoint, with half the rate."
    )
    loss_spike: Literal["halve-rate-and-quarantine", "quarantine", "halve-rate", "rollback", "tell"] = Field(
        "halve-rate-and-quarantine",
        description="One step's loss is far above those before. quarantine: the step is not applied, its new rows wait for review.",
    )
    non_finite: Literal["skip-then-rollback", "skip-then-fail", "tell"] = Field(
        "skip-then-rollback",
        description="Loss or gradient is NaN or infinite: the step is never applied; what follows train.max_skipped_steps in a row.",
    )
    gradients_exploding: Literal["halve-rate", "rollback", "tell"] = Field(
        "tell", description="The gradient norm stays far above its baseline; it is clipped in any case."
    )
    max_rollbacks: int = Field(3, ge=0, le=100, description="So often a run goes back by itself.")
    max_rate_halvings: int = Field(4, ge=0, le=100, description="So often a run halves its rate, rollbacks included.")
    max_quarantined_batches: int = Field(
        5, ge=0, le=10_000, description="So many batches a run puts aside; then spikes are applied and only told."
    )
