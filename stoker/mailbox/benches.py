"""What a model scored on a benchmark, in a folder of its own: `result.json` and `items.jsonl`.

Written once by the worker that measured (evaluate), read by whoever compares, explains or shows. A folder is named by
everything that its numbers depend on, so the same question is answered once; one without a result is unfinished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import Field, ValidationError

from stoker.durable import write_atomic
from stoker.errors import NotFound
from stoker.spec.base import Spec

RESULT, ITEMS = "result.json", "items.jsonl"


class BenchItem(Spec):
    """One item's result. `scores` is empty and `left_out` says why when the model could not be given it."""

    id: str
    category: str | None = None
    prompt: str = Field(description="The last message asked, whole.")
    expected: str
    answer: str | None = Field(None, description="None: nothing was generated (likelihood scoring).")
    finished: bool | None = Field(None, description="It ended by itself, not by the limit.")
    scores: dict[str, float] = Field({})
    nll: float | None = Field(None, description="Mean NLL of the expected answer (nats per token); None: not measured.")
    tokens: int | None = Field(None, description="Tokens of the expected answer.")
    choice: str | None = Field(None, description="The option chosen, for benchmarks of choice.")
    confidence: float | None = Field(
        None,
        description="Probability the model gave what it answered: of its option, or e to the mean log-probability.",
    )
    left_out: str | None = None
    meta: dict[str, Any] = Field({})


class BenchResult(Spec):
    """A model's result on one benchmark under one set of settings."""

    key: str = Field(description="16 hex digits: hash of all that the numbers depend on; name of the folder.")
    model: str = Field(description='Label: "main/v3", "base", a folder or "http://host#name".')
    source: Literal["version", "base", "folder", "adapter", "endpoint"]
    weights_sha256: str
    benchmark: str
    benchmark_sha256: str
    scorer: str
    primary: str = Field(description="The metric that decides.")
    metrics: dict[str, bool] = Field(description="Every metric: is it a mark (right or wrong)?")
    n: int = Field(description="Items scored.")
    scores: dict[str, float] = Field(description="Mean of each metric, and nll and perplexity where measured.")
    corpus: dict[str, float] = Field({}, description="Metrics that are of the whole, such as corpus BLEU.")
    low: float | None = Field(None, description="Interval of the primary metric's mean.")
    high: float | None = None
    by_category: dict[str, dict[str, float]] = Field({}, description="Category to n and score (primary metric).")
    left_out: dict[str, int] = Field({}, description="Reason to number of items that do not count.")
    settings: dict[str, Any] = Field({}, description="shots, limit, max_new_tokens, template, precision ...")
    tokens_out: int = 0
    seconds: float = Field(0.0, description="Spent answering, without loading.")
    first_token_seconds: float | None = Field(None, description="One warm prompt to its first token, median.")
    tokens_per_second: float | None = Field(None, description="One warm stream.")
    disk_bytes: int | None = None
    memory_bytes: int | None = None
    at: float = Field(description="Unix time when it was done.")


def write_bench(parent: Path, result: BenchResult, items: Sequence[BenchItem]) -> Path:
    """Write a result's folder in `parent`, items first, and return it."""
    folder = parent / result.key
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / ITEMS, b"".join(item.model_dump_json().encode() + b"\n" for item in items))
    write_atomic(folder / RESULT, result.model_dump_json(indent=1).encode())
    return folder


def read_benches(parent: Path) -> list[BenchResult]:
    """Return every finished result in `parent`, oldest first; what can't be read is as good as missing."""
    found = []
    for path in parent.glob(f"*/{RESULT}"):
        try:
            found.append(BenchResult.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            continue
    return sorted(found, key=lambda result: (result.at, result.key))


def read_items(folder: Path) -> list[BenchItem]:
    """Return a result's items in benchmark order; NotFound when they are gone."""
    try:
        return list(_items((folder / ITEMS).read_bytes()))
    except OSError:
        raise NotFound(f"{folder.name} has no items", "its folder was removed", "run: stoker eval bench") from None


def find_bench(
    results: Sequence[BenchResult], *, model: str, benchmark: str, settings: Mapping[str, Any] | None = None
) -> BenchResult | None:
    """Return the newest result of a model on a benchmark, with exactly these settings where given."""
    for result in reversed(results):
        if (result.model, result.benchmark) == (model, benchmark) and settings in (None, result.settings):
            return result
    return None


def _items(content: bytes) -> Iterator[BenchItem]:
    for line in content.splitlines():
        yield BenchItem.model_validate(orjson.loads(line))
