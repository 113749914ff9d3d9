"""`stoker eval influence`: which input file helped or hurt, from the line of versions or measured on the model."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table, say
from stoker.cli.lab import open_reader
from stoker.cli.understanding_tables import clip
from stoker.errors import NotFound, UsageError

if TYPE_CHECKING:
    from stoker.analysis.understanding.lines import Step
    from stoker.spec.jobs import DatasetRef, ItemSet
    from stoker.store.reader import Reader

_HELDOUT = "heldout"
_WORDS = {"helps": "helps", "hurts": "hurts", "no-difference": "no difference"}


class Method(enum.StrEnum):
    """How influence is found."""

    lines = "lines"
    loss = "loss"
    gradient = "gradient"


def influence(
    model: Annotated[
        str, typer.Option(help="lines: a line of versions. Else what is measured on: a version or base.")
    ] = "",
    benchmark: Annotated[list[str] | None, typer.Option(help="One of them; again for more. Default: all.")] = None,
    method: Annotated[
        Method,
        typer.Option(help="lines: from kept results. loss: a few steps on each file. gradient: row by row."),
    ] = Method.lines,
    dataset: Annotated[
        list[str] | None, typer.Option(help="loss, gradient: a dataset; again for more. Default: those of the model.")
    ] = None,
    rows: Annotated[int, typer.Option(min=6, max=100_000, help="loss, gradient: rows of each file.")] = 128,
    items: Annotated[int, typer.Option(min=6, max=100_000, help="loss, gradient: most items of each benchmark.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="loss, gradient: which rows and items are drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say which input file helped or hurt on which benchmark, with intervals, corrected for the number of files."""
    reader = open_reader()
    if method is Method.lines:
        if dataset:
            raise UsageError("--dataset with --method lines", "that method looks at what versions were trained on",
                             "add --method loss")  # fmt: skip
        _lines(reader, model, benchmark or [], as_json=as_json)
    else:
        _measure(reader, method, model, benchmark or [], dataset or [], rows, items, seed, as_json=as_json)


def _lines(reader: Reader, model: str, names: Sequence[str], *, as_json: bool) -> None:
    from stoker.analysis.understanding.lines import step_effects
    from stoker.spec.reading import read_settings

    spec = read_settings(reader.workspace.settings).evaluate
    found = step_effects(_steps(reader, model, names), spec.confidence, spec.resamples)
    if as_json:
        print_json([one.to_json() for one in found])
        return
    rows = [
        (
            one.version, clip(", ".join(one.files), 22), clip(one.benchmark, 14), units.count(one.n),
            units.score(one.before, one.metric), units.score(one.after, one.metric),
            units.signed(one.change, one.metric), units.interval(one.low, one.high, one.metric), _WORDS[one.outcome],
        )
        for one in found
    ]  # fmt: skip
    headers = ("version", "file", "benchmark", "n", "before", "after", "change", "interval", "outcome")
    print_table(headers, rows, numbers=("n", "before", "after", "change"))
    for version, replayed in {one.version: one.replayed for one in found if one.replayed}.items():
        note(f"{version}: rows of {clip(', '.join(replayed), 60)} were replayed with it; the change is of all together")
    if not found:
        note("too few items in common to say anything; give the versions more: stoker eval bench")


def _steps(reader: Reader, model: str, names: Sequence[str]) -> list[Step]:
    """Return every version with its parent on every benchmark that both have answered in the same way."""
    from stoker.analysis.understanding.lines import Step
    from stoker.analysis.understanding.marks import mark
    from stoker.mailbox.kept import read_kept, side_by_side
    from stoker.store.names import current_model

    versions = reader.versions()
    name = model or reader.ask(current_model) or ""
    line = [one for one in versions if one["model"] == name]
    if not line:
        models = ", ".join(sorted({one["model"] for one in versions})) or "none"
        raise NotFound(f"no model {name!r} with versions", f"models with versions: {models}", "run: stoker model list")
    kept = read_kept(reader.workspace)
    labels = {f"{name}/v{one['version']}" for one in line}
    known = sorted({one.benchmark for one in kept if one.model in labels})
    for asked in names:
        if asked not in known:
            why = f"there are results on {', '.join(known)}" if known else "nothing was evaluated yet"
            raise NotFound(f"no version has a result on {asked!r}", why, f"run: stoker eval bench --benchmark {asked}")
    steps = []
    for one in line:
        label = f"{name}/v{one['version']}"
        parent = f"{name}/v{one['parent']}" if one["parent"] else "base"
        lineage = reader.version_detail(name, one["version"])["lineage"]
        trained = {role: tuple(each["name"] for each in lineage if each["role"] == role) for role in ("new", "replay")}
        for benchmark in dict.fromkeys(names) or known:
            pair = side_by_side(kept, models=(label, parent), benchmark=benchmark)
            if len(pair) == 2:
                after, before = (mark(pair[each].items(), pair[each].primary) for each in (label, parent))
                steps.append(Step(label, parent, benchmark, trained["new"], trained["replay"], after, before))
    if not steps:
        raise NotFound(
            f"no version of {name} and its parent have answered the same benchmark", "the change is between the two",
            f"run: stoker eval bench --model {name}/v{line[-1]['version']} --model base",
        )  # fmt: skip
    return steps


def _measure(
    reader: Reader, method: Method, model: str, names: Sequence[str], datasets: Sequence[str], rows: int, items: int,
    seed: int, *, as_json: bool,
) -> None:  # fmt: skip
    from stoker.cli.narration import Narrator
    from stoker.cli.references import bench_model
    from stoker.cli.task import run_task
    from stoker.spec.jobs import InfluenceJob
    from stoker.spec.reading import read_settings

    spec = read_settings(reader.workspace.settings)
    asked = bench_model(reader, model or "@champion")
    if asked.model is None:
        raise UsageError(f"--model {model}", "an endpoint's weights can't be moved", "name a version, base or folder")
    files = _datasets(reader, datasets or [one.id for one in asked.trained])
    if not files:
        raise NotFound(f"{asked.label} was trained on no dataset of this lab", "", "name some: --dataset ID")
    job = InfluenceJob(
        model=asked.model, method="loss" if method is Method.loss else "gradient", datasets=files,
        targets=_targets(reader, names, files), trained=tuple({one.id: one for one in (*asked.trained, *files)}.values()),
        rows=rows, items=items, seed=seed, evaluate=spec.evaluate, train=spec.train,
    )  # fmt: skip
    result: dict[str, Any] = {}
    with Narrator() as narrator:
        for message in run_task(reader.workspace, job):
            if message["kind"] == "result":
                result = {name: value for name, value in message.items() if name not in ("kind", "time", "fence")}
            else:
                narrator.on_message(asked.label, message)
    if as_json:
        print_json(result)
    else:
        _print_measured(result)


def _datasets(reader: Reader, words: Sequence[str]) -> tuple[DatasetRef, ...]:
    """Return references to the datasets, with the rows that were removed by review; those that are gone are told."""
    from stoker.data.dataset import ROWS
    from stoker.data.quality.decisions import read_decided
    from stoker.spec.jobs import DatasetRef

    workspace = reader.workspace
    names = {one["id"]: one["name"] for one in reader.datasets()}
    found = []
    for id in dict.fromkeys(reader.resolve("dataset", word) for word in words):
        folder = workspace.dataset(id)
        if not (folder / ROWS).is_file():
            raise NotFound(
                f"{names[id]} ({id}) has no rows here", "it was never read, or removed", "name others: --dataset ID"
            )
        removed = tuple(sorted(read_decided(workspace.review(id)).removed()))
        found.append(DatasetRef(id=id, folder=folder, name=names[id], removed=removed))
    return tuple(found)


def _targets(reader: Reader, names: Sequence[str], files: Sequence[DatasetRef]) -> tuple[ItemSet, ...]:
    """Return the benchmarks asked for; all of the lab's; or the sealed rows where it has none."""
    from stoker.spec.jobs import ItemSet

    paths = {path.stem: path for path in sorted(reader.workspace.benchmarks.glob("*.jsonl"))}
    sealed = ItemSet(name=_HELDOUT, heldout=tuple(files))
    if not names:
        return tuple(ItemSet(name=name, benchmark=path) for name, path in paths.items()) or (sealed,)
    for name in names:
        if name != _HELDOUT and name not in paths:
            raise NotFound(
                f"no benchmark {name!r}", f"there are {', '.join([*paths, _HELDOUT])}", "run: stoker eval bench --list"
            )
    return tuple(
        sealed if name == _HELDOUT else ItemSet(name=name, benchmark=paths[name]) for name in dict.fromkeys(names)
    )


def _print_measured(result: dict[str, Any]) -> None:
    is_loss = result["method"] == "loss"
    what = "change of NLL after a few steps on the file" if is_loss else "how far a row pushes the NLL up"
    say(f"{result['model']}: {what}; above zero hurts ({result['moved']} moved in memory)")
    rows = [
        (
            clip(one["target"], 14), clip(one["name"], 24), units.count(one["n"]), f"{one['effect']:+.4f}",
            f"{one['low']:+.4f} to {one['high']:+.4f}", units.p_value(one["p_value_corrected"]), _WORDS[one["outcome"]],
        )
        for one in result["effects"]
    ]  # fmt: skip
    headers = ("benchmark", "file", "items" if is_loss else "rows", "effect", "interval", "p", "outcome")
    print_table(headers, rows, numbers=("items", "rows", "effect", "p"))
    if result["rows"]:
        say()
        say("Rows that push it up most:")
        told = [
            (
                clip(one["name"], 20),
                one["line"],
                f"{one['effect']:+.4f}",
                clip(one["prompt"], 34),
                clip(one["answer"], 20),
            )
            for one in result["rows"]
        ]
        print_table(("file", "line", "effect", "prompt", "answer"), told, numbers=("line", "effect"))
