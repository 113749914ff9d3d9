"""From what lm-evaluation-harness found of a task to results in the lab's own form.

Scores are the harness's own aggregates, to the last digit; intervals and items come from its samples.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from stoker.bench.results import Effort, choose, interval_of
from stoker.mailbox.benches import BenchItem, BenchResult
from stoker.spec.jobs import BenchModel, BenchSettings
from stoker.spec.lab import EvaluateSpec

SCORER = "lm-eval"
_MARKS = ("acc", "exact_match", "prompt_level", "inst_level", "pass@1")


def suite_results(
    found: Mapping[str, Any], model: BenchModel, weights_sha256: str, settings: BenchSettings,
    conditions: Mapping[str, Any], effort: Effort, evaluate: EvaluateSpec,
) -> list[tuple[BenchResult, list[BenchItem]]]:  # fmt: skip
    """Return a result with its items for each task that was run (a group has several)."""
    common = {
        "shots": settings.shots, "limit": settings.limit, "seed": settings.seed, "method": "suite", **conditions,
    }  # fmt: skip
    return [
        _result(found, task, samples, model, weights_sha256, common, effort, evaluate)
        for task, samples in found["samples"].items()
    ]


def _result(
    found: Mapping[str, Any], task: str, samples: Sequence[Mapping[str, Any]], model: BenchModel, weights_sha256: str,
    settings: dict[str, Any], effort: Effort, evaluate: EvaluateSpec,
) -> tuple[BenchResult, list[BenchItem]]:  # fmt: skip
    items = _items(samples)
    aggregates = {
        _name(*key.split(",", 1)): float(value)
        for key, value in found["results"][task].items()
        if "," in key and "_stderr" not in key and isinstance(value, int | float)
    }
    of_items = [name for name in aggregates if items and all(name in item.scores for item in items)]
    names = of_items or list(aggregates)
    primary = names[0] if names else "none"
    values = np.array([item.scores[primary] for item in items if primary in item.scores], dtype=np.float64)
    is_mark = _is_mark(primary)
    low, high = interval_of(values, is_mark, evaluate)
    sha256 = _sha256([found["configs"][task], [[one["doc_hash"], one["target_hash"]] for one in samples]])
    settings = {**settings, "shots": int((found.get("n-shot") or {}).get(task) or settings["shots"])}
    key = _sha256([1, weights_sha256, model.label, task, sha256, settings])[:16]
    result = BenchResult(
        key=key,
        model=model.label,
        source=model.source,
        weights_sha256=weights_sha256,
        benchmark=task,
        benchmark_sha256=sha256,
        scorer=SCORER,
        primary=primary,
        metrics={name: _is_mark(name) for name in names},
        n=len(values) if len(values) else len(items),
        scores={name: aggregates[name] for name in names},
        corpus={name: value for name, value in aggregates.items() if name not in of_items},
        low=low,
        high=high,
        settings=settings,
        seconds=round(effort.seconds, 3),
        first_token_seconds=effort.first_token_seconds,
        tokens_per_second=effort.tokens_per_second,
        disk_bytes=effort.disk_bytes,
        memory_bytes=effort.memory_bytes,
        at=time.time(),
    )
    return result, items


def _items(samples: Sequence[Mapping[str, Any]]) -> list[BenchItem]:
    """Join a document's samples, one for each filter, into one item."""
    by_document: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_document.setdefault(str(sample["doc_id"]), []).append(sample)
    return [_item(document, group) for document, group in by_document.items()]


def _item(document: str, group: Sequence[Mapping[str, Any]]) -> BenchItem:
    first = group[0]
    scores = {
        _name(metric, sample["filter"]): float(sample[metric])
        for sample in group
        for metric in sample["metrics"]
        if isinstance(sample.get(metric), int | float) and math.isfinite(sample[metric])
    }
    arguments, responses = first["arguments"], first["filtered_resps"]
    fields: dict[str, Any] = {
        "id": document, "prompt": str(arguments[0][0]), "expected": str(first["target"]), "scores": scores,
        "meta": {"doc_hash": first["doc_hash"]},
    }  # fmt: skip
    if len(arguments) > 1 and all(_is_likelihood(one) for one in responses):
        options = [str(one[1]) for one in arguments]
        target = first["target"]
        if isinstance(target, int) and 0 <= target < len(options):
            fields["expected"] = options[target].strip()
        choice, confidence = choose([one[0] for one in responses], options, "likelihood")
        return BenchItem(**fields, choice=choice.strip(), confidence=confidence)
    answer = responses[0]
    return BenchItem(**fields, answer=answer if isinstance(answer, str) else None)


def _is_likelihood(response: Any) -> bool:
    return isinstance(response, list | tuple) and len(response) == 2 and isinstance(response[0], float)


def _name(metric: str, filter: str) -> str:
    return metric if filter == "none" else f"{metric}, {filter}"


def _is_mark(metric: str) -> bool:
    return metric.startswith(_MARKS)


def _sha256(value: Any) -> str:
    return hashlib.sha256(
        orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    ).hexdigest()
