"""`stoker train --compare` and `stoker eval compare TRIAL`: which of several datasets makes the better model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stoker.cli import units
from stoker.cli.add import check_file
from stoker.cli.console import note, print_json, print_table, say
from stoker.cli.lab import current_lab, open_reader
from stoker.errors import NotFound, UsageError, WorkerFailed

if TYPE_CHECKING:
    from stoker.store.reader import Reader


def compare_datasets(words: list[Path], *, as_json: bool, quiet: bool) -> None:
    """Train each file or dataset as a branch of the champion, compare them all, and print what came of it."""
    from stoker.cli.interrupts import stop_on_signals
    from stoker.cli.narration import Narrator
    from stoker.cli.up import log_to_file
    from stoker.supervisor.foreground import train_trial

    workspace = current_lab()
    if len(words) < 2:
        raise UsageError("nothing to compare", "a comparison needs two files or datasets at least", "name another")
    asked = [_asked(word) for word in words]
    log_to_file(workspace)
    with stop_on_signals() as stop, Narrator() as narrator:
        trial = train_trial(
            workspace,
            asked,
            None if quiet else narrator.on_event,
            on_message=None if quiet else narrator.on_message,
            stop=stop.event,
        )
    _show(open_reader(), trial, as_json=as_json)
    if stop.is_interrupted:
        note(f"interrupted; {trial} goes on with: stoker up")
        raise typer.Exit(130)


def show_trial(trial: str, *, as_json: bool) -> None:
    """Show a comparison of datasets: each branch's score with its interval, and every pair, corrected for their number."""
    reader = open_reader()
    _show(reader, reader.resolve("trial", trial), as_json=as_json)


def _asked(word: Path) -> dict[str, str]:
    if word.exists():
        check_file(word)
        return {"path": str(word.absolute())}
    try:
        return {"dataset": open_reader().resolve("dataset", str(word))}
    except NotFound:
        raise NotFound(f"no file or dataset {str(word)!r}", "", "check the path, or run: stoker data list") from None


def _show(reader: Reader, trial: str, *, as_json: bool) -> None:
    found = reader.trial(trial)
    result = _result(reader, found)
    found |= {"intervals": result.get("intervals") or [], "comparisons": result.get("comparisons") or []}
    found["summary"] = (result.get("verdict") or {}).get("reason")
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found["state"] == "failed":
        raise WorkerFailed(f"{trial} failed: {found['reason']}")


def _result(reader: Reader, found: dict[str, Any]) -> dict[str, Any]:
    if found["evaluation"] is None or found["state"] != "done":
        return {}
    import orjson

    path = reader.workspace.evaluation(found["evaluation"]) / "results.json"
    result: dict[str, Any] = orjson.loads(path.read_bytes())
    return result


def _print(found: dict[str, Any]) -> None:
    parent = f"{found['model']}/v{found['parent']}" if found["parent"] else "the base"
    note(f"{found['id']} {found['state']}, branches of {parent}")
    print_table(
        ("dataset", "file", "run", "state", "version"),
        [(one["dataset"], one["name"], one["run"], one["state"], one["version"]) for one in found["branches"]],
    )
    for one in found["branches"]:
        if one["state"] == "waiting":
            note(
                f"{one['name']} waits because of its score; to train it as it is: stoker data approve {one['dataset']}"
            )
    names = {one["version"]: one["name"] for one in found["branches"]}
    rows = [
        (
            one["benchmark"],
            one["metric"],
            one["model"],
            names.get(one["model"], "parent" if one["model"] != "base" else "base"),
            units.count(one["n"]),
            units.score(one["score"], one["metric"]),
            f"{units.score(one['low'], one['metric'])} to {units.score(one['high'], one['metric'])}",
        )
        for one in sorted(found["intervals"], key=lambda one: one["benchmark"])
    ]
    if rows:
        say()
        print_table(
            ("benchmark", "metric", "model", "trained on", "n", "score", "interval"), rows, numbers=("n", "score")
        )
        say()
        _print_pairs(found["comparisons"])
        say()
        say(f"{found['summary']} Nothing is promoted; to use a branch: stoker model promote VERSION")


def _print_pairs(comparisons: list[dict[str, Any]]) -> None:
    """Print both scores of each pair on the deciding metrics; p is corrected for the number of pairs and benchmarks."""
    rows = [
        (
            f"{one['candidate']} against {one['against']}",
            one["benchmark"],
            one["metric"],
            units.count(one["n"]),
            units.score(one["candidate_score"], one["metric"]),
            units.score(one["against_score"], one["metric"]),
            units.signed(one["difference"], one["metric"]),
            units.interval(one["low"], one["high"], one["metric"]),
            units.detectable(one["minimum_detectable_effect"], one["metric"]),
            units.p_value(one["p_value_corrected"]),
            one["outcome"],
        )
        for one in comparisons
        if one["is_primary"]
    ]
    numbers = ("n", "first", "second", "difference", "detectable", "corrected p")
    headers = (
        "pair",
        "benchmark",
        "metric",
        "n",
        "first",
        "second",
        "difference",
        "interval",
        "detectable",
        "corrected p",
    )
    print_table((*headers, "the first is"), rows, numbers=numbers)
