"""The part of `stoker data show` that says what the rows are like: score, lengths, turns, labels, clusters.

The numbers come from the dataset's summary and from its rows; a dataset without rows (rejected, not read yet) has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stoker.cli import units
from stoker.cli.console import print_table, say
from stoker.cli.histogram import bar_lines, histogram_lines
from stoker.data.visible import visible

_JUDGED = ("score", "gate", "deductions", "finding_counts", "findings", "tokens")
_WIDEST_NAME = 60


def statistics_of(folder: Path) -> dict[str, Any]:
    """Return score, findings, token lengths and `statistics` of a published dataset; None each where there are none."""
    from stoker.data.dataset import SUMMARY, Dataset
    from stoker.data.statistics import describe

    if not (folder / SUMMARY).is_file():
        return dict.fromkeys((*_JUDGED, "statistics"))
    dataset = Dataset(folder)
    return {key: dataset.summary.get(key) for key in _JUDGED} | {"statistics": describe(dataset)}


def score_words(found: dict[str, Any]) -> str | None:
    """Return the score in words for a line of facts; None where there is none."""
    if found["score"] is None:
        return None
    if found["state"] == "waiting":
        return f"{found['score']} of 100: it waits for a person; as it is: stoker data approve {found['id']}"
    gate = {"pass": "good", "warn": "a warning", "stop": "below check.stop_below"}
    return f"{found['score']} of 100: {gate.get(found['gate'], found['gate'])}"


def print_statistics(found: dict[str, Any]) -> None:
    """Print the findings by code, then a histogram of each thing that is measured."""
    _print_findings(found)
    _print_tokens(found["tokens"])
    statistics = found["statistics"]
    if not statistics or not statistics["rows_read"]:
        return
    if statistics["rows_read"] < statistics["rows"]:
        say()
        say(
            f"measured on {units.count(statistics['rows_read'])} of {units.count(statistics['rows'])} rows, evenly spaced"
        )
    for title, key in (
        ("turns of a row", "turns"),
        ("characters of a prompt", "prompt_characters"),
        ("characters of an answer", "answer_characters"),
    ):
        if measured := statistics[key]:
            _print_distribution(title, measured["quantiles"], measured["histogram"])
    _print_labels(statistics["labels"], statistics["rows_read"])
    _print_clusters(statistics["clusters"])


def _print_findings(found: dict[str, Any]) -> None:
    if not found["finding_counts"]:
        return
    points = {one["code"]: one["points"] for one in found["deductions"] or ()}
    first = {one["code"]: one for one in reversed(found["findings"] or ())}
    rows = [
        (
            first[code]["severity"] if code in first else None,
            code,
            units.count(number),
            f"-{points[code]:g}" if code in points else None,
            first[code]["line"] if code in first else None,
        )
        for code, number in sorted(found["finding_counts"].items(), key=lambda one: (-points.get(one[0], 0), -one[1]))
    ]
    say()
    print_table(("severity", "finding", "rows", "points", "first line"), rows, numbers=("rows", "points", "first line"))


def _print_tokens(tokens: dict[str, Any] | None) -> None:
    if not tokens:
        return
    _print_distribution(f"tokens of a row ({tokens['tokenizer']})", tokens["quantiles"], tokens["histogram"])
    say(f"  {units.count(tokens['total'])} in all")
    lost = [(limit, number) for limit, number in tokens["lost"] if number]
    limit = tokens["max_length"]
    if limit is not None and not lost:
        say(f"  every row fits into {units.count(min(one for one, _ in tokens['lost']))} tokens")
    for other, number in lost:
        say(f"  max_length {units.count(other)} would lose {units.count(number)} rows")


def _print_distribution(title: str, quantiles: dict[str, int], bins: list[list[int]]) -> None:
    if len(bins) == 1 and bins[0][0] == bins[0][1]:
        say()
        say(f"{title}: {units.count(bins[0][0])} in every row")
        return
    names = {"min": "least", "p50": "median", "p90": "90 % up to", "p99": "99 % up to", "max": "most"}
    say()
    say(
        f"{title}: "
        + ", ".join(f"{words} {units.count(quantiles[key])}" for key, words in names.items() if key in quantiles)
    )
    for line in histogram_lines(bins):
        say(line)


def _print_labels(labels: list[list[Any]] | None, num_rows: int) -> None:
    if not labels:
        return
    say()
    say("answers")
    named = [(visible(repr(label)[:_WIDEST_NAME]), int(number)) for label, number in labels]
    rest = num_rows - sum(number for _, number in named)
    for line in bar_lines([*named, *([("others", rest)] if rest > 0 else [])], is_text=True):
        say(line)


def _print_clusters(clusters: dict[str, Any]) -> None:
    if not clusters["near_duplicates"]:
        return
    say()
    say(
        f"near duplicates: {units.count(clusters['near_duplicates'])} rows; rows of a cluster, "
        f"of {units.count(clusters['clusters'])} clusters ({units.count(clusters['sealed'])} sealed)"
    )
    for line in histogram_lines(clusters["sizes"]):
        say(line)
