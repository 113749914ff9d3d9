"""[guard]: when the supervisor steps in from outside: a worker that hangs, memory or disk that run out, a run grown slow."""

from __future__ import annotations

from pydantic import Field, model_validator

from stoker.spec.base import Spec


class GuardSpec(Spec):
    """[guard]: when the supervisor steps in from outside of a worker."""

    check_seconds: float = Field(1.0, gt=0, le=60, description="How often the supervisor looks (seconds).")
    hang_seconds: float = Field(
        55.0,
        ge=1,
        le=86_400,
        description="A worker that stood still this long, and 5 times its median step, is ended and goes on from its checkpoint (seconds).",
    )
    disk_reserve_megabytes: int = Field(
        256, ge=0, description="Free space kept beside room for two checkpoints; with less a run is paused (megabytes)."
    )
    memory_share: float = Field(
        0.95, gt=0, le=1, description="A run is paused when more of the machine's memory than this is in use; 1: never."
    )
    memory_resume_share: float = Field(
        0.85, gt=0, le=1, description="It goes on once its own memory fits in again and at most this share is in use."
    )
    memory_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="It is also paused when memory above memory_resume_share grows so fast that it is full within this time (seconds); 0: never.",
    )
    throughput_share: float = Field(
        0.6, ge=0, lt=1, description="Tokens per second below this share of the run's own usual are told; 0: never."
    )
    copy_hours: float = Field(
        24.0, ge=0, le=8760, description="How often the store is copied to .stoker/store-copy.db (hours); 0: never."
    )

    @model_validator(mode="after")
    def _resumes_below_where_it_pauses(self) -> GuardSpec:
        if self.memory_resume_share > self.memory_share:
            raise ValueError(
                f"guard.memory_resume_share = {self.memory_resume_share} is above guard.memory_share = {self.memory_share}; "
                "a run would be paused again at once: set it lower"
            )
        return self
