"""Values that are "auto" in the settings and need no torch to become definite. The supervisor calls these."""

from __future__ import annotations

from typing import Literal

from stoker.spec.jobs import BaseRef
from stoker.spec.lab import ModelSpec

TINY = "tiny"


def resolve_method(spec: ModelSpec, base: BaseRef) -> Literal["full", "lora", "qlora"]:
    """Return the definite training method: "auto" is full for the tiny base and LoRA for any other."""
    if spec.method != "auto":
        return spec.method
    return "full" if base.name == TINY else "lora"
