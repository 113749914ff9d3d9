"""`stoker eval compare`: models against each other on benchmarks and sealed rows, or a trial's branches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli.console import AsJson, note, print_json
from stoker.cli.lab import open_reader
from stoker.errors import NotAllowed, NotFound, UsageError, UserError

if TYPE_CHECKING:
    from stoker.analysis.comparing import Compared
    from stoker.report.comparison import ComparisonFacts
    from stoker.spec.jobs import BenchModel
    from stoker.store.reader import Reader

_DEFAULT_ITEMS = 3


def compare(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL MODEL ... | TRIAL]",
            help='Models: a version, "@champion", "base", a model\'s or adapter\'s folder, or http://HOST:PORT/v1#NAME. '
            "Or a trial's id, or @latest; default: the latest trial.",
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(help='Compare on this one, "heldout" among them; again for more. Default: all.'),
    ] = None,
    items: Annotated[
        int, typer.Option(help="So many items of each benchmark that the models disagree on, side by side.")
    ] = _DEFAULT_ITEMS,
    shots: Annotated[int, typer.Option(help="Solved examples shown before each question.")] = 0,
    limit: Annotated[int | None, typer.Option(help="So many items of each benchmark.")] = None,
    key: Annotated[str, typer.Option(help="Where an endpoint's API key is: env:NAME or file:PATH.")] = "",
    stored: Annotated[bool, typer.Option("--stored", help="Measure nothing: compare what has results.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the comparison as Markdown.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with plots that needs nothing else.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare models item by item and say which to use; with one word or none, show a trial."""
    reader, words = open_reader(), words or []
    if len(words) < 2:
        _show_trial(
            reader,
            words,
            is_plain=not (benchmark or markdown or html or stored or shots or limit or key),
            as_json=as_json,
        )
        return
    if items < 0:
        raise UsageError(f"--items {items}", "it is 0 or more", "leave --items out or change it")
    for page in (markdown, html):
        if page is not None:
            _require_free(page)
    asked = {"shots": shots, "limit": limit, "seed": 0, "max_new_tokens": None}
    facts = _compare(reader, words, benchmark or [], asked, key, items, measures=not stored)
    _require_lines(facts.compared, is_stored=stored)
    _write(facts, markdown, html)
    if as_json:
        rows = _rows(facts)
        print_json(
            rows[0] if len(rows) == 1 and len(benchmark or ()) == 1 and len(facts.compared.models) == 2 else rows
        )
        return
    from stoker.cli.comparison_tables import print_comparison

    print_comparison(facts)


def _compare(
    reader: Reader, words: list[str], names: list[str], asked: dict[str, Any], key: str, num_items: int, *,
    measures: bool,
) -> ComparisonFacts:  # fmt: skip
    from stoker.analysis.comparing import compare_models
    from stoker.analysis.disagreements import disagreements
    from stoker.analysis.recommending import recommend
    from stoker.cli.benches import bench_settings
    from stoker.cli.comparing_results import Asked, gather
    from stoker.report.comparison import ComparisonFacts
    from stoker.spec.reading import read_settings

    spec = read_settings(reader.workspace.settings)
    models = _models(reader, words, key)
    settings = bench_settings(asked, spec.evaluate.max_new_tokens)
    found = gather(reader, Asked(models, list(dict.fromkeys(names)), settings, spec), measures=measures)
    labels = [model.label for model in models]
    compared = compare_models(labels, found, spec.evaluate.confidence, spec.evaluate.resamples)
    return ComparisonFacts(
        compared, recommend(compared), tuple(disagreements(labels, found, num_items)), spec.evaluate.confidence
    )


def _models(reader: Reader, words: list[str], key: str) -> list[BenchModel]:
    from stoker.cli.references import bench_model

    named: dict[str, str] = {}
    models = []
    for word in words:
        model = bench_model(reader, word, key)
        if model.label in named:
            raise UsageError(
                f"{named[model.label]} and {word} are the same model, {model.label}"
                if named[model.label] != word
                else f"{word} is named twice",
                "a model does not differ from itself",
                "name another model",
            )
        named[model.label] = word
        models.append(model)
    return models


def _require_lines(compared: Compared, *, is_stored: bool) -> None:
    """Raise with the reasons when no pair could be compared on anything."""
    if compared.lines:
        return
    reasons = dict.fromkeys(f"{one.benchmark}: {one.reason}" for one in compared.missing)
    raise NotFound(
        "nothing to compare",
        "; ".join(reasons) or "there is no benchmark and no sealed row",
        "leave --stored out to measure what is missing" if is_stored else "run: stoker eval bench --list",
    )


def _rows(facts: ComparisonFacts) -> list[dict[str, Any]]:
    """Return the lines as JSON, each with its models, its items and what was recommended, so that one stands alone."""
    from dataclasses import asdict

    models = {one.model: asdict(one) for one in facts.compared.models}
    return [
        {
            **line.to_json(),
            "models": [models[line.model_a], models[line.model_b]],
            "disagreements": [asdict(one) for one in facts.disagreements if one.benchmark == line.benchmark],
            "recommendation": asdict(facts.recommendation),
            "missing": [asdict(one) for one in facts.compared.missing],
            "notes": list(facts.compared.notes),
        }
        for line in facts.compared.lines
    ]


def _write(facts: ComparisonFacts, markdown: Path | None, html: Path | None) -> None:
    from stoker.durable import write_atomic
    from stoker.report.comparison import comparison_page
    from stoker.report.comparison_markdown import comparison_markdown

    for path, make in ((markdown, comparison_markdown), (html, comparison_page)):
        if path is not None:
            write_atomic(path.absolute(), make(facts).encode("utf-8", "replace"))
            note(f"wrote {path}")


def _require_free(page: Path) -> None:
    if page.exists():
        raise NotAllowed(f"{page} exists", "nothing is overwritten", "name another file, or delete it")
    if not page.absolute().parent.is_dir():
        raise NotFound(f"no folder {page.absolute().parent}", "", "make it first")


def _show_trial(reader: Reader, words: list[str], *, is_plain: bool, as_json: bool) -> None:
    from stoker.cli.trials import show_trial

    trial = words[0] if words else "@latest"
    try:
        reader.resolve("trial", trial)
    except NotFound:
        if words and _is_model(reader, trial):
            raise UsageError(
                f"{trial} alone can't be compared", "a comparison needs two models at least",
                f"run: stoker eval compare base {trial}" if trial != "base" else "name another model",
            ) from None  # fmt: skip
        raise
    if not is_plain:
        raise UsageError(
            "a trial is shown as it is", "--benchmark, --shots, --limit, --key, --stored, --markdown and --html are for models",
            "name two models, or leave the options out",
        )  # fmt: skip
    show_trial(trial, as_json=as_json)


def _is_model(reader: Reader, word: str) -> bool:
    from stoker.cli.references import bench_model

    try:
        bench_model(reader, word)
    except UserError:
        return False
    return True
