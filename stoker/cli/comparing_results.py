"""What a comparison of models rests on: results that are kept, and those measured now because they are missing.

Every model is asked the same benchmarks under the same settings. The sealed rows of the lab's datasets are asked as two
benchmarks more: "heldout" (NLL of all) and "heldout-answers" (those that evaluations answer too, compared as text).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from stoker.cli.console import note
from stoker.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from stoker.analysis.comparing import Measured
    from stoker.data.rows import Row
    from stoker.mailbox.benches import BenchResult
    from stoker.spec.jobs import BenchModel, BenchSettings, DatasetRef
    from stoker.spec.lab import LabSpec
    from stoker.store.reader import Reader
    from stoker.workspace import Workspace

HELDOUT, HELDOUT_ANSWERS = "heldout", "heldout-answers"


@dataclass(frozen=True)
class Asked:
    """What is compared: models, names of benchmarks (none: all there are), and how they are asked."""

    models: Sequence[BenchModel]
    names: Sequence[str]
    settings: BenchSettings
    spec: LabSpec


def gather(reader: Reader, asked: Asked, *, measures: bool) -> dict[str, dict[str, Measured]]:
    """Return what each model scored, by benchmark and model; with `measures` what is missing is measured first."""
    workspace = reader.workspace
    with _benchmark_files(reader, asked) as paths:
        names = [*paths, *_kept_names(workspace, asked, paths)]
        unknown = [name for name in asked.names if name not in names]
        if unknown:
            raise NotFound(
                f"no benchmark {unknown[0]!r}",
                f"there are {', '.join(names) or 'none'}",
                "run: stoker eval bench --list",
            )
        chosen = [name for name in names if not asked.names or name in asked.names]
        found = _kept(workspace, asked, paths, chosen)
        if measures:
            _measure(workspace, asked, paths, found)
            found = _kept(workspace, asked, paths, chosen)
    return found


@contextmanager
def _benchmark_files(reader: Reader, asked: Asked) -> Iterator[dict[str, Path]]:
    """Give the benchmarks that can be measured by name: the lab's, and the sealed rows written as two more."""
    workspace = reader.workspace
    paths = {path.stem: path for path in sorted(workspace.benchmarks.glob("*.jsonl"))}
    own = {HELDOUT, HELDOUT_ANSWERS} - paths.keys()
    if asked.names and not own & set(asked.names):
        yield paths
        return
    workspace.create()
    with tempfile.TemporaryDirectory(dir=workspace.tasks, prefix="compare-") as folder:
        for path in write_heldout(Path(folder), sealed_rows(reader), asked.spec.evaluate.heldout_answers):
            paths.setdefault(path.stem, path)
        yield paths


def sealed_rows(reader: Reader) -> list[Row]:
    """Return the sealed rows that count of every dataset that was trained on, as an evaluation takes them."""
    from stoker.data.dataset import Dataset
    from stoker.data.replaced import is_counting

    rows: dict[str, Row] = {}
    for ref in reader.ask(_sealed_refs, reader.workspace):
        sealed = Dataset(ref.folder).heldout_rows()
        if ref.kept_by is not None:
            counts = is_counting([row.id for row in sealed], ref.kept_by).tolist()
            sealed = [row for row, is_kept in zip(sealed, counts, strict=True) if is_kept]
        rows |= {row.id: row for row in sealed}
    return list(rows.values())


def write_heldout(folder: Path, rows: Sequence[Row], num_answers: int) -> list[Path]:
    """Write sealed conversations as benchmarks, each only when it has items; plain text has no question to ask."""
    asked = [row for row in rows if row.messages is not None and row.answer().strip()]
    if len(asked) < len(rows):
        note(f"{len(rows) - len(asked):,} sealed rows are plain text; they are compared by: stoker eval run")
    written = []
    answered = sorted(asked, key=lambda row: row.id)[:num_answers]
    for name, scorer, items in ((HELDOUT, "nll", asked), (HELDOUT_ANSWERS, "f1", answered)):
        if items:
            path = folder / f"{name}.jsonl"
            path.write_bytes(b"".join(orjson.dumps(row.content.to_json()) + b"\n" for row in items))
            path.with_suffix(".toml").write_text(f'scorer = "{scorer}"\n', "utf-8")
            written.append(path)
    return written


def _sealed_refs(connection: Connection, workspace: Workspace) -> list[DatasetRef]:
    from sqlalchemy import select

    from stoker.spec.jobs import DatasetRef
    from stoker.store import tables as t
    from stoker.store.families import keepers, standings

    d = t.datasets
    out = keepers(standings(connection))
    statement = select(d.c.id, d.c.name).where(d.c.held_out > 0, d.c.state == "trained").order_by(d.c.number)
    refs = []
    for row in connection.execute(statement):
        kept_by = out.get(row.id)
        if kept_by != [] and workspace.dataset(row.id).is_dir():
            folders = None if kept_by is None else tuple(workspace.dataset(keeper) for keeper in kept_by)
            refs.append(
                DatasetRef(id=str(row.id), folder=workspace.dataset(row.id), name=str(row.name), kept_by=folders)
            )
    return refs


def _kept_names(workspace: Workspace, asked: Asked, paths: dict[str, Path]) -> list[str]:
    """Return what some of the models have a result on though the lab has no such file: suites, files since removed."""
    from stoker.mailbox.benches import read_benches

    labels = {model.label for model in asked.models}
    names = [one.benchmark for one in read_benches(workspace.benches) if one.model in labels]
    return [name for name in dict.fromkeys(names) if name not in paths and name not in (HELDOUT, HELDOUT_ANSWERS)]


def _kept(
    workspace: Workspace, asked: Asked, paths: dict[str, Path], names: Sequence[str]
) -> dict[str, dict[str, Measured]]:
    """Return the newest whole result of each model on each benchmark that answers what is asked now."""
    from stoker.analysis.comparing import Measured
    from stoker.mailbox.benches import read_benches, read_items

    results = read_benches(workspace.benches)[::-1]
    found: dict[str, dict[str, Measured]] = {name: {} for name in names}
    for name in names:
        file = _File.of(paths[name], asked.settings) if name in paths else None
        for model in asked.models:
            for result in results:
                if (result.model, result.benchmark) != (model.label, name) or not _answers(result, model, file, asked):
                    continue
                try:
                    found[name][model.label] = Measured(result, read_items(workspace.benches / result.key))
                except (NotFound, ValueError):  # its items are gone or cut short: as good as not measured
                    continue
                break
    return found


@dataclass(frozen=True)
class _File:
    """A benchmark as it is now: its hash, when what it is asked and scored by changed, what a limit leaves of it.

    Without `can_be_told` it measures likelihood alone, which no endpoint tells.
    """

    sha256: str
    changed_at: float
    limit: int | None
    can_be_told: bool

    @classmethod
    def of(cls, path: Path, settings: BenchSettings) -> _File:
        from stoker.analysis.scorers import NLL
        from stoker.data.benchmark_header import header_path
        from stoker.data.benchmarks import read_benchmark

        benchmark = read_benchmark(path)
        header = benchmark.header
        named = (str(header.options.get("file") or ""), header.shots_from)
        files = [header_path(path), *(path.parent / name for name in named if name)]
        is_short = settings.limit is not None and settings.limit < len(benchmark.items)
        is_own = path.stem in (HELDOUT, HELDOUT_ANSWERS)
        return cls(
            benchmark.sha256,
            0.0 if is_own else max((file.stat().st_mtime for file in files if file.is_file()), default=0.0),
            settings.limit if is_short else None,
            header.method != "generation" or header.scorer != NLL,
        )


def _answers(result: BenchResult, model: BenchModel, file: _File | None, asked: Asked) -> bool:
    """Tell whether a kept result is of these weights, of the file as it is, and under the settings asked for."""
    settings, limit = asked.settings, asked.settings.limit if file is None else file.limit
    expected: dict[str, Any] = {"shots": settings.shots, "limit": limit, "max_new_tokens": settings.max_new_tokens}
    if limit or settings.shots:
        expected["seed"] = settings.seed
    if any(result.settings.get(name, value) != value for name, value in expected.items()):
        return False
    if file is not None and (result.benchmark_sha256 != file.sha256 or result.at < file.changed_at):
        return False
    return _is_of_these_weights(result, model)


def _is_of_these_weights(result: BenchResult, model: BenchModel) -> bool:
    if model.model is None:
        return True
    if model.model.folder is not None:
        return result.weights_sha256 == model.model.weights_sha256
    folder = model.model.base.folder
    return folder is None or all(path.stat().st_mtime <= result.at for path in folder.glob("*.safetensors"))


def _measure(workspace: Workspace, asked: Asked, paths: dict[str, Path], found: dict[str, dict[str, Measured]]) -> None:
    """Measure what is missing: models that are loaded together, endpoints on what they can be asked."""
    from stoker.cli.benching import run_benches
    from stoker.spec.jobs import BenchJob

    files = {name: _File.of(paths[name], asked.settings) for name in found if name in paths}
    for is_endpoint in (False, True):
        models = [model for model in asked.models if (model.endpoint is not None) == is_endpoint]
        lacking = {
            name: [model for model in models if model.label not in found[name]]
            for name, file in files.items()
            if file.can_be_told or not is_endpoint
        }
        names = [name for name, without in lacking.items() if without]
        if not names:
            continue
        without = {model.label for name in names for model in lacking[name]}
        job = BenchJob(
            models=tuple(model for model in models if model.label in without),
            benchmarks=tuple(paths[name] for name in names),
            settings=asked.settings,
            again=_is_half_there(workspace, without, names),
            evaluate=asked.spec.evaluate,
            train=asked.spec.train,
            answers=workspace.answers,
            output=workspace.benches,
            root=workspace.root,
        )
        run_benches(workspace, job)


def _is_half_there(workspace: Workspace, labels: set[str], names: Sequence[str]) -> bool:
    """Tell whether one of the results to measure is there without its items; only then is it measured over."""
    from stoker.mailbox.benches import read_benches, read_items

    for result in read_benches(workspace.benches):
        if result.model in labels and result.benchmark in names:
            try:
                read_items(workspace.benches / result.key)
            except (NotFound, ValueError):
                return True
    return False
