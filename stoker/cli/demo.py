"""`stoker demo`: the whole loop, offline, in minutes: SYLLO puzzles, a model from scratch, two files, two verdicts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, say
from stoker.cli.evaluations import print_comparisons
from stoker.errors import NotAllowed, WorkerFailed
from stoker.workspace import Workspace

if TYPE_CHECKING:
    from stoker.cli.narration import Narrator
    from stoker.store.records import Event

_NUM_PUZZLES = 14_000
_SHARE_OF_SECOND = 0.4
# The longest gold answer has 66 tokens. A model this small is held up by steps, not by rows: large batches.
_SETTINGS = (
    ("intake.settle_seconds", "0.2"),
    ("evaluate.guards", "syllo-easy"),
    ("evaluate.max_new_tokens", "80"),
    ("evaluate.batch_size", "100"),
)
_SAMPLE = "syllo-easy"


def demo(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="New lab; default: ./demo-lab.")] = None,
    puzzles: Annotated[
        int, typer.Option(min=200, help="Puzzles in the first file; the second has 0.4 times as many.")
    ] = _NUM_PUZZLES,
    seed: Annotated[int, typer.Option(min=0, help="Seed of puzzles and training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show the whole loop offline: make a lab, train tiny on puzzles, judge it, continue with a second file."""
    from stoker.cli.interrupts import stop_on_signals
    from stoker.cli.narration import Narrator
    from stoker.cli.up import log_to_file
    from stoker.spec.reading import read_settings
    from stoker.supervisor.supervisor import Supervisor

    started = time.monotonic()
    workspace = _make_lab(_free_folder(folder), puzzles, seed)
    log_to_file(workspace)
    note(
        f"lab {workspace.root}: {puzzles:,} easy puzzles, then {_num_second(puzzles):,} of all levels; base tiny, from scratch"
    )
    with stop_on_signals() as stop, Narrator() as narrator:
        teller = _Teller(workspace, narrator, started, is_quiet=as_json)
        supervisor = Supervisor(
            workspace, read_settings(workspace.settings), on_event=teller.on_event, on_message=narrator.on_message
        )
        supervisor.run(until_idle=True, stop=stop.event)
    if stop.event.is_set():
        note(f"stopped; go on with: stoker --lab {workspace.root} up")
        raise typer.Exit(130)
    if narrator.num_failed_runs or not teller.verdicts:
        raise WorkerFailed(f"a run failed; see: stoker --lab {workspace.root} run list")
    seconds = time.monotonic() - started
    if as_json:
        print_json(_facts(workspace, teller.verdicts, seconds))
    else:
        _say_where(workspace, seconds)


class _Teller:
    """Passes events on and, at each verdict, prints its table and a sample."""

    def __init__(self, workspace: Workspace, narrator: Narrator, started: float, *, is_quiet: bool) -> None:
        self._workspace, self._narrator, self._started = workspace, narrator, started
        self._is_quiet = is_quiet
        self.verdicts: list[dict[str, Any]] = []

    def on_event(self, event: Event) -> None:
        self._narrator.on_event(event)
        if event.code != "verdict":
            return
        from stoker.store.reader import Reader

        reader = Reader(self._workspace)
        evaluation = [found for found in reader.evaluations() if found["candidate"] == event.version][-1]
        comparisons = reader.comparisons(evaluation["id"])
        sample = _sample(self._workspace.evaluation(evaluation["id"]), str(event.version))
        verdict = evaluation["verdict"] or {}
        self.verdicts.append(
            {
                "version": event.version,
                "promote": verdict.get("promote"),
                "outcome": verdict.get("outcome"),
                "reason": verdict.get("reason"),
                "seconds": round(time.monotonic() - self._started, 1),
                "comparisons": comparisons,
                "sample": sample,
            }
        )
        if not self._is_quiet:
            self._narrator.pause()
            _say_verdict(self.verdicts[-1])


def _free_folder(folder: Path | None) -> Path:
    """Return a folder that is not there yet, or an empty one; nothing is ever overwritten."""
    if folder is not None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise NotAllowed(f"{folder} exists", "the demo overwrites nothing", "choose another folder")
        return folder
    candidate, number = Path("demo-lab"), 1
    while candidate.exists():
        number += 1
        candidate = Path(f"demo-lab-{number}")
    return candidate


def _make_lab(folder: Path, puzzles: int, seed: int) -> Workspace:
    from stoker.cli.init import create_lab
    from stoker.spec.writing import set_value
    from stoker.tasks.syllo.install import write_benchmarks, write_training_file

    workspace = create_lab(folder, base="tiny")
    for key, value in (*_SETTINGS, ("train.seed", str(seed))):
        set_value(workspace.settings, key, value)
    write_benchmarks(workspace.benchmarks)
    write_training_file(workspace.inbox / "day-1.jsonl", puzzles, seed=2 * seed, level="easy")
    write_training_file(workspace.inbox / "day-2.jsonl", _num_second(puzzles), seed=2 * seed + 1, level="mixed")
    return workspace


def _num_second(puzzles: int) -> int:
    return round(puzzles * _SHARE_OF_SECOND)


def _sample(folder: Path, candidate: str) -> dict[str, Any] | None:
    """Return the first item of the easy benchmark with the candidate's answer, right or wrong."""
    import orjson

    path = folder / f"items-{candidate.replace('/', '-')}.jsonl"
    if not path.is_file():
        return None
    for line in path.read_bytes().splitlines():
        item = orjson.loads(line)
        if item["benchmark"] == _SAMPLE:
            return {name: item[name] for name in ("prompt", "expected", "answer", "scores")}
    return None


def _say_verdict(verdict: dict[str, Any]) -> None:
    say(f"\n{verdict['version']}, {units.duration(verdict['seconds'])} after the start\n")
    # Of what a model could do before only a loss belongs to the story.
    print_comparisons(
        [row for row in verdict["comparisons"] if row["benchmark"] != "basics" or row["outcome"] == "worse"]
    )
    say(f"\n{verdict['reason']}\n")
    sample = verdict["sample"]
    if sample:
        for name in ("prompt", "expected", "answer"):
            say(f"  {name:<9} " + str(sample[name]).replace("\n", "\n            "))
        say()


def _say_where(workspace: Workspace, seconds: float) -> None:
    say(f"Both files were trained and judged in {units.duration(seconds)}. Everything lies in {workspace.root}:")
    say("  stoker.toml           the settings          .stoker/datasets     the rows, and where each went")
    say("  benchmarks/           the frozen puzzles    .stoker/runs         messages, checkpoints, mask proofs")
    say("  .stoker/models        the versions          .stoker/evaluations  every item's answers and scores")
    say(f"Next: cd {workspace.root}; stoker model list; stoker run show; stoker generate --prompt '...'")


def _facts(workspace: Workspace, verdicts: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    from stoker.store.reader import Reader

    versions = Reader(workspace).versions()
    return {"versions": versions, "verdicts": verdicts, "seconds": round(seconds, 1), "lab": str(workspace.root)}
