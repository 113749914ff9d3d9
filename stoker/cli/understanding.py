"""`stoker eval explain` and `stoker eval items`: what kept answers say about a model, and about items over versions.

They read results and load no model; what has no result yet says how to get one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli.console import AsJson, note, print_json
from stoker.cli.lab import current_lab, open_reader
from stoker.errors import NotAllowed, NotFound, UsageError

if TYPE_CHECKING:
    from stoker.analysis.understanding.marks import MarkedSet
    from stoker.mailbox.kept import Kept
    from stoker.store.reader import Reader

Mark = Annotated[
    float, typer.Option("--mark", help="Score (0 to 1) from which an item counts as right, for graded scores.")
]
_HELDOUT = "heldout"


def explain(
    model: Annotated[str, typer.Argument(help='A version, "@champion", "base", or what a benchmark was run on.')],
    benchmark: Annotated[list[str] | None, typer.Option(help="One of them; again for more. Default: all.")] = None,
    mark: Mark = 1.0,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page with plots.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a model gets wrong and how: categories, confusions, confidence, groups of failures that look alike."""
    from stoker.analysis.understanding.explanation import explain as explain_items
    from stoker.cli.understanding_tables import print_explanation
    from stoker.durable import write_atomic
    from stoker.spec.reading import read_settings

    _check_mark(mark)
    if html is not None:
        _require_free(html)
    workspace = current_lab()
    spec = read_settings(workspace.settings).evaluate
    chosen = _results_of(open_reader(), model, benchmark or [])
    found = [
        explain_items(
            kept.model, kept.benchmark, kept.scorer, kept.primary, kept.items(),
            confidence=spec.confidence, resamples=spec.resamples, right_at=mark,
        )
        for kept in chosen
    ]  # fmt: skip
    if html is not None:
        from stoker.report.explained import explanation_page

        write_atomic(html.absolute(), explanation_page(found, spec.confidence).encode())
    if as_json:
        print_json([one.to_json() | _source(kept) for one, kept in zip(found, chosen, strict=True)])
    else:
        for number, (one, kept) in enumerate(zip(found, chosen, strict=True)):
            print_explanation(one, _asked(kept), is_first=number == 0)
    if html is not None:
        note(f"wrote {html}; open it in a browser")


def items(
    benchmark: Annotated[str, typer.Option(help="Which one. Default: the only one that versions have in common.")] = "",
    model: Annotated[str, typer.Option(help="A line of versions. Default: the one in work.")] = "",
    before: Annotated[str, typer.Option("--from", help='A version or "base". Default: the last but one.')] = "",
    after: Annotated[str, typer.Option("--to", help="A version. Default: the last.")] = "",
    mark: Mark = 1.0,
    every: Annotated[bool, typer.Option("--all", help="Every item, not only the hardest and what changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show items over versions: how hard each is, what is always or never right, what was learned and forgotten."""
    from stoker.analysis.understanding.difficulty import changes, histories
    from stoker.cli.understanding_tables import items_json, print_items

    _check_mark(mark)
    reader = open_reader()
    line = _line_labels(reader, model)
    ends = [_label(reader, word, None) for word in (before, after) if word]
    labels = list(dict.fromkeys([*(label for label in ("base",) if label not in ends), *ends, *line]))
    kept = _kept(reader)
    name = _benchmark_in_common(kept, labels, benchmark)
    chosen = _comparable(kept, labels, name)
    marked = _marked(chosen, mark)
    ordered = [label for label in ("base", *line, *ends) if label in marked]
    versions = {label: marked[label] for label in dict.fromkeys(ordered)}
    of_line = {label: one for label, one in versions.items() if label != "base"}
    first, last = _ends(list(versions), before and ends[0], after and ends[-1], name)
    found = changes(first, last, versions)
    hard = histories(of_line or versions)
    if as_json:
        print_json(items_json(name, list(of_line or versions), hard, found))
    else:
        print_items(name, hard, found, every=every)


def _check_mark(mark: float) -> None:
    if not 0 < mark <= 1:
        raise UsageError(
            f"--mark {mark}", "a score from which an item is right is above 0 and at most 1", "write --mark 0.5"
        )


def _kept(reader: Reader) -> list[Kept]:
    from stoker.mailbox.kept import read_kept

    found = read_kept(reader.workspace)
    if not found:
        raise NotFound("no model has answered a benchmark yet", "", "run: stoker eval bench, or train a file")
    return found


def _results_of(reader: Reader, word: str, names: Sequence[str]) -> list[Kept]:
    """Return the newest result of a model on each benchmark asked for, or on all that it has."""
    from stoker.mailbox.kept import newest

    kept = _kept(reader)
    label = _label(reader, word, kept)
    known = sorted({one.benchmark for one in kept if one.model == label}, key=lambda name: (name == _HELDOUT, name))
    if not known:
        raise NotFound(
            f"{label} has answered no benchmark", f"results are of {_some(sorted({one.model for one in kept}))}",
            f"run: stoker eval bench --model {word}",
        )  # fmt: skip
    for name in names:
        if name not in known:
            raise NotFound(
                f"{label} has no result on {name!r}", f"it has on {_some(known)}",
                f"run: stoker eval bench --model {word} --benchmark {name}",
            )  # fmt: skip
    wanted = list(dict.fromkeys(names)) or known
    return [one for name in wanted if (one := newest(kept, model=label, benchmark=name)) is not None]


def _label(reader: Reader, word: str, kept: Sequence[Kept] | None) -> str:
    """Return what results of a model are filed under."""
    from stoker.bench.address import endpoint_ref, is_endpoint
    from stoker.cli.references import model_folder

    if word == "base" or (kept and any(one.model == word for one in kept)):
        return word
    if is_endpoint(word):
        return endpoint_ref(word).label
    folder = model_folder(word)
    if folder is not None:
        return str(folder)
    name, version = reader.resolve_version(word)
    return f"{name}/v{version}"


def _line_labels(reader: Reader, model: str) -> list[str]:
    from stoker.store.names import current_model

    versions = reader.versions()
    if not versions:
        raise NotFound("there is no version yet", "items are followed over versions", "run: stoker train FILE")
    name = model or reader.ask(current_model)
    found = [f"{one['model']}/v{one['version']}" for one in versions if one["model"] == name]
    if not found:
        models = _some(sorted({one["model"] for one in versions}))
        raise NotFound(f"no model {name!r} with versions", f"there are {models}", "run: stoker model list")
    return found


def _benchmark_in_common(kept: Sequence[Kept], labels: Sequence[str], asked: str) -> str:
    """Return the benchmark to look at: the one asked for, or the only one (heldout aside) that these models have."""
    known = sorted({one.benchmark for one in kept if one.model in labels})
    if asked:
        if asked not in known:
            why = f"there are results on {_some(known)}" if known else "there are none"
            raise NotFound(f"no version has a result on {asked!r}", why, f"run: stoker eval bench --benchmark {asked}")
        return asked
    own = [name for name in known if name != _HELDOUT] or known
    if len(own) == 1:
        return own[0]
    if not own:
        raise NotFound("no version has answered a benchmark yet", "", "run: stoker eval bench --model VERSION")
    raise UsageError("which benchmark?", f"there are results on {_some(own)}", f"add --benchmark {own[0]}")


def _comparable(kept: Sequence[Kept], labels: Sequence[str], name: str) -> dict[str, Kept]:
    from stoker.mailbox.kept import side_by_side

    chosen = side_by_side(kept, models=labels, benchmark=name)
    other = {one.model for one in kept if one.benchmark == name and one.model in labels} - set(chosen)
    if other:
        note(f"left out, asked in another way or of another file: {_some(sorted(other))}; run: stoker eval bench")
    return chosen


def _marked(chosen: dict[str, Kept], right_at: float) -> dict[str, MarkedSet]:
    from stoker.analysis.understanding.marks import mark

    found = {label: mark(one.items(), one.primary, right_at) for label, one in chosen.items()}
    judged = {label: one for label, one in found.items() if one.judged}
    if not judged:
        name = next(iter(chosen.values())).benchmark
        raise NotFound(
            f"no answer to {name} was scored", "it is judged by likelihood alone", "choose another benchmark"
        )
    return judged


def _ends(labels: Sequence[str], first: str, last: str, name: str) -> tuple[str, str]:
    for label in (first, last):
        if label and label not in labels:
            raise NotFound(
                f"{label} has no result on {name} that was asked as the others were", f"there are {_some(labels)}",
                f"run: stoker eval bench --model {label} --benchmark {name}",
            )  # fmt: skip
    last = last or next(label for label in reversed(labels) if label != first)
    earlier = list(labels)[: list(labels).index(last)]
    first = first or (earlier[-1] if earlier else "")
    if not first or first == last:
        raise NotFound(
            f"only {last} has answered {name}", "what changed is between two models",
            f"run: stoker eval bench --model base --benchmark {name}",
        )  # fmt: skip
    return first, last


def _source(kept: Kept) -> dict[str, Any]:
    return {"source": kept.kind, "result": kept.name, "settings": kept.settings}


def _asked(kept: Kept) -> str:
    """Say in a few words where the answers are from."""
    if kept.kind == "evaluation":
        return f"evaluation {kept.name}"
    shots, limit = kept.settings.get("shots"), kept.limit
    parts = [f"{shots} shots" if shots else "", f"{limit} items drawn" if limit else ""]
    return ", ".join(["stoker eval bench", *(part for part in parts if part)])


def _some(names: Sequence[str], at_most: int = 6) -> str:
    return ", ".join(names[:at_most]) + (", ..." if len(names) > at_most else "")


def _require_free(page: Path) -> None:
    if page.exists():
        raise NotAllowed(f"{page} exists", "nothing is overwritten", "name another file, or delete it")
    if not page.absolute().parent.is_dir():
        raise NotFound(f"no folder {page.absolute().parent}", "", "make it first")
