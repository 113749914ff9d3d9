"""[hardware]: how the machine is watched."""

from __future__ import annotations

from pydantic import Field

from stoker.spec.base import Spec


class HardwareSpec(Spec):
    """[hardware]: what the supervisor reads of processors, memory, disk and GPUs while it runs."""

    sample_seconds: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="The machine is read this often (seconds); 0: not at all, then energy stays unknown.",
    )
    fine_days: float = Field(
        2.0, ge=0, le=3650, description="Readings older than this are thinned to one a minute (days)."
    )
    keep_days: float = Field(30.0, gt=0, le=3650, description="Readings older than this are removed (days).")
