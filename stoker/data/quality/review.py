"""The review of a dataset: every signal of every row that trains, joined to a list, worst first.

It reads the published folder and what runs recorded, changes nothing and decides nothing. Held-out rows are not looked at: whoever
cleans a test by the same eye as the training rows measures that eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from msgspec import structs

from stoker.data.checks.checker import Checker
from stoker.data.checks.rules import RULES
from stoker.data.dataset import Dataset
from stoker.data.findings import excerpt
from stoker.data.quality.consistency import find_inconsistent
from stoker.data.quality.features import Features, measure
from stoker.data.quality.labels import find_wrong_labels, has_labels
from stoker.data.quality.losses import find_high_losses
from stoker.data.quality.outliers import find_outliers
from stoker.data.quality.recommend import Judged, recommend
from stoker.data.quality.signals import Signal
from stoker.data.sealing.index import Index
from stoker.data.sealing.shingles import RowWords
from stoker.data.sealing.words import Vocabulary
from stoker.mailbox.row_losses import Visits
from stoker.spec.lab import CheckSpec

FINDING_STRENGTHS = {
    "replacement-characters": 0.6, "mojibake": 0.5, "placeholders": 0.6, "refusals": 0.5, "secrets": 0.6,
    "answer-in-prompt": 0.3, "cut-answers": 0.5, "control-characters": 0.4,
}  # fmt: skip
"""How much a finding of the checks speaks against its row. Conflicts are weighed by `consistency`, with the neighbours' words."""
_MAX_FINDINGS = 100_000
_CHECKED_ROWS = 4096


@dataclass(slots=True)
class Reviewed:
    """One row of the list, in words."""

    id: str
    line: int
    judged: Judged
    prompt: str = ""
    answer: str = ""


@dataclass(slots=True)
class Review:
    """`rows`: those that something speaks against, worst first. `notes`: what holds for the file as a whole."""

    num_rows: int
    num_with_losses: int
    is_labelled: bool
    rows: list[Reviewed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def review_dataset(dataset: Dataset, spec: CheckSpec, runs: Sequence[Visits] = ()) -> Review:
    """Look at every row that trains. `runs` are the visits of the runs that trained them, oldest first."""
    name = str(dataset.summary["name"])
    features = measure(dataset.each_train_row())
    review = Review(len(features), 0, has_labels(features))
    if not len(features):
        return review
    judged, common = recommend(_signals(dataset, name, features, spec, runs, review), len(features))
    for kind, number in common.items():
        share = number / len(features)
        review.notes.append(
            f"{kind}: {share:.0%} of the rows; that is how this file is, so it speaks against none of them"
        )
    review.rows = [Reviewed(f"{int(features.ids[one.row]):016x}", int(features.lines[one.row]), one) for one in judged]
    return review


def add_excerpts(dataset: Dataset, rows: Sequence[Reviewed]) -> None:
    """Fill in the words of rows that will be shown."""
    wanted = {row.id: row for row in rows}
    for row in dataset.each_train_row() if wanted else ():
        shown = wanted.get(row.id)
        if shown is not None:
            prompt = row.prompt_messages()
            shown.prompt, shown.answer = excerpt(prompt[-1]["content"]) if prompt else "", excerpt(row.answer())


def _signals(
    dataset: Dataset, name: str, features: Features, spec: CheckSpec, runs: Sequence[Visits], review: Review
) -> Iterator[Signal]:
    yield from find_outliers(features, has_labels=review.is_labelled)
    if review.is_labelled:
        yield from find_wrong_labels(features)
    yield from _inconsistent(dataset, name, features)
    yield from _findings(dataset, name, spec)
    if runs:
        seen = np.unique(np.concatenate([visits.row for visits in runs]))
        review.num_with_losses = int(np.isin(features.ids, seen).sum())
        yield from find_high_losses(features.ids, runs)


def _inconsistent(dataset: Dataset, name: str, features: Features) -> Iterator[Signal]:
    """Take the prompts' shingles from the index, which has them since the rows were sealed."""
    index = Index(dataset.folder, name)
    try:
        ids = index.trained().ids
        order = np.argsort(ids, kind="stable")
        place = order[np.searchsorted(ids[order], features.ids)]
        prompts, boilerplate = index.trained_prompts().take(place), index.prompt_boilerplate
    finally:
        index.close()
    yield from find_inconsistent(features, prompts, boilerplate)


def _findings(dataset: Dataset, name: str, spec: CheckSpec) -> Iterator[Signal]:
    """Check the rows again with the same functions: the dataset keeps only the first findings of each code."""
    checker = Checker(name, spec, max_shown=_MAX_FINDINGS)
    numbered = (structs.replace(row, line=place) for place, row in enumerate(dataset.each_train_row()))
    vocabulary = Vocabulary()
    while rows := list(islice(numbered, _CHECKED_ROWS)):
        checker.add_rows(rows, RowWords.of(rows, vocabulary))
    for finding in checker.finish().shown:
        strength = FINDING_STRENGTHS.get(finding.code)
        if strength is not None and finding.line is not None:
            what = " ".join(finding.excerpt.split())[:80]
            words = f"{finding.code}: {RULES[finding.code].title} ({what})"
            yield Signal(finding.line, "finding", strength, words)
