"""How results of benchmarks look on a terminal: a row for each benchmark and model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.console import note, print_table

if TYPE_CHECKING:
    from stoker.mailbox.benches import BenchResult


def print_results(results: Sequence[BenchResult], *, categories: bool) -> None:
    """Print each benchmark's score of each model with its interval, what it took, and what does not count."""
    ordered = sorted(results, key=lambda result: result.benchmark)
    names = short_names([result.model for result in ordered])
    rows = [
        (
            result.benchmark,
            names[result.model],
            result.primary,
            units.count(result.n),
            units.count(sum(result.left_out.values())),
            units.score(_score(result), result.primary),
            _interval(result),
            units.score(result.scores.get("nll"), "nll"),
            _speed(result),
        )
        for result in ordered
    ]
    headers = ("benchmark", "model", "metric", "n", "out", "score", "interval", "nll", "tokens/s")
    print_table(headers, rows, numbers=("n", "out", "score", "nll", "tokens/s"))
    if categories:
        _print_categories(ordered, names)
    for result in ordered:
        for reason, num in result.left_out.items():
            note(f"{result.benchmark}, {names[result.model]}: {num} items do not count: {reason}")


def print_benchmarks(found: Sequence[dict[str, Any]]) -> None:
    """Print the lab's benchmarks."""
    rows = [
        (
            one["name"], units.count(one["items"]), one["scorer"], one["method"], units.count(len(one["categories"])),
            units.count(one["examples"]), units.count(one["results"]), one["description"] or None,
        )
        for one in found
    ]  # fmt: skip
    headers = ("benchmark", "items", "scorer", "method", "categories", "examples", "results", "description")
    print_table(headers, rows, numbers=("items", "categories", "examples", "results"))


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """Return each label as a table shows it: a folder by its last name, an endpoint by its model, where that is clear."""
    short = {label: _short(label) for label in labels}
    times = [*short.values()]
    return {label: name if times.count(name) == 1 else label for label, name in short.items()}


def _short(label: str) -> str:
    if "://" in label:
        return label.partition("#")[2]
    return Path(label).name if label.startswith("/") else label


def _print_categories(results: Sequence[BenchResult], names: dict[str, str]) -> None:
    rows = [
        (
            result.benchmark, category, names[result.model], units.count(found["n"]),
            units.score(found["score"], result.primary),
        )
        for result in results
        for category, found in result.by_category.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: row[:2])
    print_table(("benchmark", "category", "model", "n", "score"), rows, numbers=("n", "score"))


def _score(result: BenchResult) -> float | None:
    return result.scores.get(result.primary)


def _interval(result: BenchResult) -> str:
    if result.low is None or result.high is None:
        return "-"
    return f"{units.score(result.low, result.primary)} to {units.score(result.high, result.primary)}"


def _speed(result: BenchResult) -> str:
    return "-" if result.tokens_per_second is None else f"{result.tokens_per_second:,.0f}"
