"""Named sets of training values. `balanced` is the defaults of spec/lab themselves."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"epochs": 1, "replay": 0.2, "warmup_fraction": 0.02},
    "balanced": {},
    "thorough": {"epochs": 3, "replay": 1.0, "warmup_fraction": 0.05},
}
