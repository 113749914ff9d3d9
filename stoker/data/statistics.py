"""What a dataset's rows are like: turns, lengths of prompts and answers, labels, clusters. Read from its published folder.

The rows are those that were kept on either side; duplicates and quarantined ones are in the summary. Of more than
`MAX_ROWS` rows so many are read, evenly spaced, and `rows_read` says so; the clusters are always counted whole. It judges
nothing and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from stoker.data.dataset import Dataset
from stoker.data.rows import Row

MAX_ROWS = 200_000
MAX_LABELS_SHOWN = 20
_MAX_BINS = 12
_MIN_BINS = 5
_LINEAR_SPREAD = 8
_ROUND, _FINER = (1, 2, 5), (1, 1.5, 2, 3, 5, 7)

Values = npt.NDArray[np.int64]


def describe(dataset: Dataset, max_rows: int = MAX_ROWS) -> dict[str, Any]:
    """Return the statistics of a dataset: plain numbers, stable keys; None where no row has such a thing.

    A histogram is a list of [lowest, highest, how many], both ends included.
    """
    total = sum(1 for _ in dataset.raw_rows())
    stride = max(1, -(-total // max_rows))
    sampled = (line for place, line in enumerate(dataset.raw_rows()) if place % stride == 0)
    measured = _measure((Row.from_json(orjson.loads(line)) for line in sampled), _has_labels(dataset.summary))
    return {"rows": total, **measured, "clusters": _clusters(dataset)}


def histogram(values: Iterable[int], max_bins: int = _MAX_BINS) -> list[list[int]]:
    """Return [lowest, highest, how many] for bins with round edges: of one value each, of equal width, or ever wider."""
    found = np.asarray(list(values), dtype=np.int64)
    if len(found) == 0:
        return []
    low, high = int(found.min()), int(found.max())
    edges = _edges(low, high, int(np.median(found)), max_bins)
    counts, _ = np.histogram(found, bins=np.array(edges))
    return [
        [start, min(end - 1, high), int(count)] for (start, end), count in zip(pairwise(edges), counts, strict=True)
    ]


def distribution(values: Iterable[int]) -> dict[str, Any] | None:
    """Return quantiles and histogram; None for no values."""
    found = np.asarray(list(values), dtype=np.int64)
    if len(found) == 0:
        return None
    p50, p90, p99 = (int(value) for value in np.quantile(found, (0.5, 0.9, 0.99), method="higher"))
    quantiles = {"min": int(found.min()), "p50": p50, "p90": p90, "p99": p99, "max": int(found.max())}
    return {"quantiles": quantiles, "histogram": histogram(found)}


def _measure(rows: Iterator[Row], has_labels: bool) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    turns: list[int] = []
    prompts: list[int] = []
    answers: list[int] = []
    for row in rows:
        kinds[row.kind] += 1
        if row.messages is None:
            answers.append(len(row.text or ""))
            continue
        before, answer = row.prompt_messages(), row.answer_messages()
        turns.append(sum(turn["role"] != "system" for turn in chain(before, answer)))
        prompts.append(sum(len(turn["content"]) for turn in before))
        answers.append(sum(len(turn["content"]) for turn in answer))
        if has_labels:
            labels[row.answer().strip()] += 1
    return {
        "rows_read": sum(kinds.values()),
        "kinds": dict(kinds.most_common()),
        "turns": distribution(turns),
        "prompt_characters": distribution(prompts),
        "answer_characters": distribution(answers),
        "labels": [[label, count] for label, count in labels.most_common(MAX_LABELS_SHOWN)] if labels else None,
    }


def _has_labels(summary: dict[str, Any]) -> bool:
    return "labels" in (summary.get("finding_counts") or {})


def _clusters(dataset: Dataset) -> dict[str, Any]:
    """Count the groups of near duplicates by how many rows they have; a row that is like no other is a cluster of one."""
    rows_of = Counter(entry["cluster"] for entry in dataset.ledger() if entry.get("cluster") is not None)
    sizes = list(rows_of.values())
    return {
        "clusters": len(sizes),
        "sealed": int(dataset.summary.get("sealed_clusters", 0)),
        "near_duplicates": sum(size - 1 for size in sizes),
        "sizes": _doubling(sizes),
        "largest": list(dataset.summary.get("largest_clusters") or ()),
    }


def _doubling(sizes: list[int]) -> list[list[int]]:
    """Return the bins 1, 2, 3-4, 5-8, 9-16, ... of cluster sizes."""
    bins = []
    low, high = 1, 1
    while sizes and low <= max(sizes):
        bins.append([low, high, sum(low <= size <= high for size in sizes)])
        low, high = high + 1, max(2, 2 * high)
    return bins


def _edges(low: int, high: int, middle: int, max_bins: int) -> list[int]:
    if high - low < max_bins:
        return list(range(low, high + 2))
    if high <= _LINEAR_SPREAD * max(1, middle):
        return _equal_edges(low, high, max_bins)
    edges = _growing_edges(low, high, _ROUND)
    if len(edges) - 1 < _MIN_BINS:
        edges = _growing_edges(low, high, _FINER)
    return edges


def _equal_edges(low: int, high: int, max_bins: int) -> list[int]:
    power = 1
    while True:
        for step in _ROUND:
            width = step * power
            start = low // width * width
            if (high - start) // width + 1 <= max_bins:
                return list(range(start, high + width + 1, width))[: (high - start) // width + 2]
        power *= 10


def _growing_edges(low: int, high: int, steps: tuple[float, ...]) -> list[int]:
    """Return edges 0, 1, 2, 5, 10, 20, ... that hold both values; the last lies above `high`."""
    edges, power = [0], 1
    while edges[-1] <= high:
        edges += [edge for step in steps if (edge := int(step * power)) > edges[-1]]
        power *= 10
    first = max(i for i, edge in enumerate(edges) if edge <= low)
    last = next(i for i, edge in enumerate(edges) if edge > high)
    return edges[first : last + 1]
