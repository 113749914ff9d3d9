"""`stoker eval bench`: every benchmark of the lab on any model, from a version to an endpoint; no supervisor needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from stoker.cli.console import AsJson, note, print_json
from stoker.cli.lab import current_lab, open_reader
from stoker.errors import NotFound, UsageError, UserError
from stoker.tasks.basics.install import NAME as BASICS
from stoker.tasks.basics.install import write_basics
from stoker.workspace import Workspace

MAX_TOKENS = 131_072


def bench(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help='A version, "@champion", "base", a model\'s or adapter\'s folder, or http://HOST:PORT/v1#NAME; again for '
            "more. Default: the champion, or the base where there is none."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None, typer.Option(help="One of the lab's, or basics; again for more. Default: all of the lab's.")
    ] = None,
    shots: Annotated[int, typer.Option(help="Solved examples shown before each question.")] = 0,
    limit: Annotated[int | None, typer.Option(help="So many items of each, drawn by the seed.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which examples are shown, which items a limit leaves.")] = 0,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest answer (tokens). Default: evaluate.max_new_tokens.")
    ] = None,
    key: Annotated[str, typer.Option(help="Where an endpoint's API key is: env:NAME or file:PATH.")] = "",
    suite: Annotated[list[str] | None, typer.Option(help="A task of lm-evaluation-harness; again for more.")] = None,
    suite_path: Annotated[Path | None, typer.Option(help="The folder of YAML files that defines it.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure also what has a result.")] = False,
    categories: Annotated[bool, typer.Option("--categories", help="Also the scores of each category.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the lab's benchmarks instead.")] = False,
    add: Annotated[Path | None, typer.Option(metavar="FILE", help="Make a file into a benchmark instead.")] = None,
    name: Annotated[str, typer.Option(help="With --add: its name. Default: the file's.")] = "",
    scorer: Annotated[str, typer.Option(help="With --add: how answers are marked.")] = "normalised",
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="With --add: an option of the scorer; again for more.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="With --add: a system prompt.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="With --add: in place of the one there is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run benchmarks on models; what has been answered before is not asked again."""
    workspace = current_lab()
    if add is not None:
        _add(workspace, add, name, scorer, option or [], system, replace, as_json=as_json)
    elif list_:
        _list(workspace, as_json=as_json)
    else:
        from stoker.cli.bench_table import print_results
        from stoker.cli.benching import run_benches

        job = _job(workspace, model or [], benchmark or [], suite or [], suite_path, key, again,
                   {"shots": shots, "limit": limit, "seed": seed, "max_new_tokens": max_tokens})  # fmt: skip
        results = run_benches(workspace, job)
        if as_json:
            print_json([result.model_dump() for result in results])
        else:
            print_results(results, categories=categories)


def _job(
    workspace: Workspace, models: list[str], names: list[str], tasks: list[str], suite_path: Path | None, key: str,
    again: bool, asked: dict[str, Any],
) -> Any:  # fmt: skip
    from stoker.cli.references import bench_model
    from stoker.spec.jobs import BenchJob, Suite
    from stoker.spec.reading import read_settings

    spec = read_settings(workspace.settings)
    settings = bench_settings(asked, spec.evaluate.max_new_tokens)
    suites = _suites(tasks, suite_path)
    paths = () if suites and not names else tuple(_paths(workspace, names))
    reader = open_reader()
    words = models or [_default_model(reader)]
    found = [bench_model(reader, word, key) for word in dict.fromkeys(words)]
    return BenchJob(
        models=tuple({one.label: one for one in found}.values()),
        benchmarks=paths,
        suites=tuple(Suite(task=task, folder=folder) for task, folder in suites),
        settings=settings,
        again=again,
        evaluate=spec.evaluate,
        train=spec.train,
        answers=workspace.answers,
        output=workspace.benches,
        root=workspace.root,
    )


def bench_settings(asked: dict[str, Any], max_new_tokens: int) -> Any:
    from stoker.spec.jobs import BenchSettings

    for name, least, most in (("shots", 0, 1000), ("limit", 1, 10**9), ("max_new_tokens", 1, MAX_TOKENS)):
        if asked[name] is not None and not least <= asked[name] <= most:
            option = "max-tokens" if name == "max_new_tokens" else name
            raise UsageError(
                f"--{option} {asked[name]}", f"it is from {least} to {most:,}", f"leave --{option} out or change it"
            )
    return BenchSettings(**{**asked, "max_new_tokens": asked["max_new_tokens"] or max_new_tokens})


def _suites(tasks: list[str], folder: Path | None) -> list[tuple[str, Path]]:
    if not tasks:
        if folder is not None:
            raise UsageError("--suite-path without --suite", "a folder may define many tasks", "add --suite TASK")
        return []
    if folder is None:
        raise UsageError(
            f"--suite {tasks[0]} without --suite-path", "tasks come from a folder of YAML files on this machine",
            "add --suite-path FOLDER",
        )  # fmt: skip
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", "", "check the path of --suite-path")
    if find_spec("lm_eval") is None:
        raise UserError(
            f"--suite {tasks[0]} needs lm-evaluation-harness",
            "it is not installed",
            "run: pip install 'stoker[suites]'",
        )
    return [(task, folder.resolve()) for task in dict.fromkeys(tasks)]


def _default_model(reader: Any) -> str:
    versions = [one for one in reader.versions() if one["champion"]]
    return "@champion" if versions else "base"


def _paths(workspace: Workspace, names: list[str]) -> list[Path]:
    there = {path.stem: path for path in sorted(workspace.benchmarks.glob("*.jsonl"))}
    if BASICS in names and BASICS not in there:
        there[BASICS] = write_basics(workspace.basics)
    if not there:
        raise NotFound(
            "the lab has no benchmarks", f"they lie in {workspace.benchmarks}",
            "run: stoker eval bench --add FILE --name NAME --scorer SCORER",
        )  # fmt: skip
    unknown = [name for name in names if name not in there]
    if unknown:
        raise NotFound(f"no benchmark {unknown[0]!r}", f"there are {', '.join(there)}", "run: stoker eval bench --list")
    return [there[name] for name in dict.fromkeys(names)] if names else list(there.values())


def _list(workspace: Workspace, *, as_json: bool) -> None:
    from stoker.bench.few_shot import examples_of
    from stoker.cli.bench_table import print_benchmarks
    from stoker.data.benchmarks import read_benchmark
    from stoker.mailbox.benches import read_benches

    results = read_benches(workspace.benches)
    found = []
    for path in sorted(workspace.benchmarks.glob("*.jsonl")):
        benchmark = read_benchmark(path)
        categories = sorted({item.category for item in benchmark.items if item.category is not None})
        found.append(
            {
                "name": benchmark.name, "items": len(benchmark.items), "scorer": benchmark.scorer,
                "method": benchmark.header.method, "categories": categories,
                "examples": len(examples_of(path, benchmark)), "description": benchmark.header.description,
                "licence": benchmark.header.licence, "sha256": benchmark.sha256,
                "results": sum(result.benchmark == benchmark.name for result in results),
            }
        )  # fmt: skip
    if as_json:
        print_json(found)
        return
    print_benchmarks(found)
    if not found:
        note("no benchmarks yet; make one: stoker eval bench --add FILE --name NAME --scorer SCORER")


def _add(
    workspace: Workspace, file: Path, name: str, scorer: str, options: list[str], system: str | None, replace: bool, *,
    as_json: bool,
) -> None:  # fmt: skip
    from stoker.cli.benches_adding import add_benchmark, describe

    parsed = {}
    for option in options:
        word, sign, value = option.partition("=")
        if not sign or not word:
            raise UsageError(f"--option {option}", "an option of a scorer is KEY=VALUE", "for example tolerance=0.01")
        parsed[word] = value
    if not file.is_file():
        raise NotFound(f"there is no file {file}", "", "check the path")
    added = add_benchmark(
        workspace, file, name=name or file.stem, scorer=scorer, options=parsed, system=system, replace=replace
    )
    if as_json:
        print_json(added)
    else:
        for line in describe(added):
            note(line)
