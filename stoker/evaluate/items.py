"""The items of an evaluation: benchmark files and the sealed rows of datasets, and what is left out of them and why.

An item whose prompt and answer are near a trained row proves nothing and does not count; neither does one whose own
expected answer would not get full marks. Nothing is left out silently: every count travels with the results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoker.analysis.scorers import NLL, Scorer, find_scorer, is_scorable
from stoker.analysis.verdict import HELDOUT
from stoker.bench.questions import NEAR_TRAINED, NOT_SCORABLE, Scorers
from stoker.data.benchmarks import read_benchmark
from stoker.data.dataset import Dataset
from stoker.data.replaced import is_counting
from stoker.data.rows import Row
from stoker.data.sealing.overlap import near_trained
from stoker.errors import DataError, InvalidInput
from stoker.spec.jobs import DatasetRef, ItemSet
from stoker.spec.lab import EvaluateSpec

_HELDOUT_SCORER = "f1"
REPLACED = "not in the current version of its file"


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One thing to measure: NLL always, and the answer's score when `is_answered`, up to `max_new_tokens` of it."""

    id: str
    row: Row
    expected: str
    category: str | None
    meta: Mapping[str, Any]
    is_answered: bool
    max_new_tokens: int | None = None


@dataclass(slots=True)
class EvalSet:
    """The items of one benchmark or of the held-out rows.

    `primary` is the metric a verdict is reached by. `left_out` counts items by reason; `problem` says why a whole
    set can't be used.
    """

    name: str
    scorer: Scorer
    primary: str
    items: list[EvalItem] = field(default_factory=list)
    sha256: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    problem: str | None = None


def load_sets(
    sets: Sequence[ItemSet],
    trained: Sequence[DatasetRef],
    evaluate: EvaluateSpec,
    scorers: Scorers = lambda path, header: find_scorer(header.scorer, header.options),
) -> list[EvalSet]:
    """Return the sets with the items that count; a benchmark that can't be read or marked has none, and its problem."""
    folders = [dataset.folder for dataset in trained]
    loaded = []
    for each in sets:
        if each.benchmark is None:
            loaded.append(_load_heldout(each, evaluate.heldout_answers))
            continue
        try:
            loaded.append(_load_benchmark(each.name, each.benchmark, folders, evaluate.max_new_tokens, scorers))
        except (InvalidInput, OSError) as error:
            # One bad file must not cost the verdict on all others; whoever judges by it is told why it is missing.
            loaded.append(EvalSet(each.name, find_scorer(NLL), NLL, problem=str(error)))
    return loaded


def _load_heldout(each: ItemSet, num_answers: int) -> EvalSet:
    """Take every sealed row, judged by NLL; those first in the order of their ids, which are hashes, answer too."""
    left_out: Counter[str] = Counter()
    rows = {row.id: row for dataset in each.heldout for row in _counting(dataset, left_out)}
    answerable = sorted(row.id for row in rows.values() if row.messages is not None and row.answer().strip())
    answered = set(answerable[:num_answers])
    items = [EvalItem(row.id, row, row.answer(), None, {}, row.id in answered) for row in rows.values()]
    return EvalSet(each.name or HELDOUT, find_scorer(_HELDOUT_SCORER), NLL, items, left_out=left_out)


def _counting(dataset: DatasetRef, left_out: Counter[str]) -> list[Row]:
    """Return a dataset's sealed rows but for those of a replaced or rolled-back one that no version in force has."""
    rows = Dataset(dataset.folder).heldout_rows()
    if dataset.kept_by is None:
        return rows
    counting = is_counting([row.id for row in rows], dataset.kept_by)
    left_out[REPLACED] += len(rows) - int(counting.sum())
    return [row for row, counts in zip(rows, counting.tolist(), strict=True) if counts]


def _load_benchmark(name: str, path: Path, trained: Sequence[Path], longest: int, scorers: Scorers) -> EvalSet:
    benchmark = read_benchmark(path)
    if benchmark.header.method != "generation":
        raise DataError(
            f"it is asked by {benchmark.header.method}", "a verdict compares what models write",
            f"run: stoker eval bench --benchmark {name}",
        )  # fmt: skip
    scorer = scorers(path, benchmark.header)
    near = near_trained([item.row for item in benchmark.items], trained)
    found = EvalSet(name, scorer, scorer.primary, sha256=benchmark.sha256)
    limit = benchmark.header.max_new_tokens
    limit = None if limit is None or limit >= longest else limit
    for item in benchmark.items:
        if item.row.id in near:
            found.left_out[NEAR_TRAINED] += 1
        elif not is_scorable(scorer, item.meta, item.answer):
            found.left_out[NOT_SCORABLE] += 1
        else:
            found.items.append(
                EvalItem(item.id, item.row, item.answer, item.category, item.meta, scorer.needs_answer, limit)
            )
    return found
