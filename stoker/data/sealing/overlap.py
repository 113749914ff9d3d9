"""Which rows a model has nearly seen: evaluation leaves them out, or says so.

Intake keeps new rows away from benchmarks that exist; this covers a benchmark that came after the data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stoker.data.dataset import Dataset
from stoker.data.rows import Row
from stoker.data.sealing.edits import keys_of
from stoker.data.sealing.index import Index
from stoker.data.sealing.neighbours import best_match, best_prompt_match, near_pairs
from stoker.data.sealing.shingles import ShingleBuilder, find_boilerplate
from stoker.data.sealing.split import both
from stoker.spec.lab import SplitSpec

_USUAL = SplitSpec()


def near_trained(rows: Sequence[Row], folders: Sequence[Path]) -> dict[str, str]:
    """Return for each row that is near a trained row of a dataset its id and where: "NAME:LINE".

    Near means as a whole or by its prompt alone, at the similarity the dataset was split with.
    """
    builder = ShingleBuilder()
    for row in rows:
        builder.add(row)
    whole, prompts = builder.finish()
    keys = keys_of(rows)
    near: dict[str, str] = {}
    for folder in folders:
        summary = Dataset(folder).summary
        with contextlib.closing(Index(folder, summary["name"])) as index:
            lines, similarity, share = index.trained().lines, summary["similarity"], summary["boilerplate_share"]
            for match, ours, theirs, boilerplate in (
                (best_match, whole, index.trained_sets(), index.boilerplate),
                (best_prompt_match, prompts, index.trained_prompts(), index.prompt_boilerplate),
            ):
                discounted = both(find_boilerplate(ours, share), boilerplate)
                for at, place in zip(*match(ours, theirs, discounted, similarity)[:2], strict=True):
                    near.setdefault(rows[at].id, f"{index.name}:{lines[place]}")
            for at, place in zip(*keys.matches(index.trained_edits()), strict=True):
                near.setdefault(rows[at].id, f"{index.name}:{lines[place]}")
    return near


def near_each_other(left: Sequence[Row], right: Sequence[Row], split: SplitSpec = _USUAL) -> dict[str, frozenset[str]]:
    """Return for each left row that is near a right one the ids of those.

    Near means as a whole or by the prompt alone; prompts that differ by a word which is no number are near too.
    """
    builder = ShingleBuilder()
    for row in (*left, *right):
        builder.add(row)
    near: dict[str, set[str]] = {}
    first, second = np.arange(len(left)), np.arange(len(left), len(left) + len(right))
    for sets in builder.finish():
        boilerplate = find_boilerplate(sets, split.boilerplate_share)
        pairs = near_pairs(sets.take(first), sets.take(second), boilerplate, split.similarity)[:2]
        for at, place in zip(*pairs, strict=True):
            near.setdefault(left[at].id, set()).add(right[place].id)
    ours, theirs = keys_of(left, prompts_alone=True), keys_of(right, prompts_alone=True)
    rows_of: dict[int, list[int]] = {}
    for key, at in zip(ours.keys.tolist(), ours.rows.tolist(), strict=True):
        rows_of.setdefault(key, []).append(at)
    for key, place in zip(theirs.keys.tolist(), theirs.rows.tolist(), strict=True):
        for at in rows_of.get(key, ()):
            near.setdefault(left[at].id, set()).add(right[place].id)
    return {row_id: frozenset(found) for row_id, found in near.items()}
