"""Results of benchmarks as a measurement would leave them, made from marks and NLLs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from stoker.analysis.comparing import Measured
from stoker.mailbox.benches import BenchItem, BenchResult


def answered(
    model: str,
    marks: Sequence[float | None],
    *,
    nlls: Sequence[float | None] | None = None,
    benchmark: str = "sums",
    metric: str = "exact",
    is_mark: bool = True,
    first: int = 0,
    tokens: int = 3,
    **fields: Any,
) -> Measured:
    """Return a model's result; a mark of None was left out, `first` is the first item's number."""
    items = []
    for place, mark in enumerate(marks):
        nll = None if nlls is None or mark is None else nlls[place]
        items.append(
            BenchItem(
                id=f"q{first + place}",
                prompt=f"question {first + place}",
                expected="yes",
                answer=None if mark is None or metric == "nll" else "yes" if mark == 1 else "no",
                scores={} if mark is None or metric == "nll" else {metric: mark},
                nll=mark if metric == "nll" else nll,
                tokens=tokens,
                left_out=None if mark is not None else "longer than max_length",
            )
        )
    known = [mark for mark in marks if mark is not None]
    facts: dict[str, Any] = {
        "key": hashlib.sha256(f"{model} {benchmark}".encode()).hexdigest()[:16], "model": model, "source": "folder",
        "weights_sha256": f"folder:{model}", "benchmark": benchmark, "benchmark_sha256": "ab" * 32, "scorer": metric,
        "primary": metric, "metrics": {} if metric == "nll" else {metric: is_mark}, "n": len(known),
        "scores": {metric: float(np.mean(known))} if known else {}, "settings": {"shots": 0, "max_new_tokens": 512},
        "at": 1.0,
    }  # fmt: skip
    return Measured(BenchResult.model_validate(facts | fields), items)
