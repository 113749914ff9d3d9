"""A run's sealed rows: those held out of the datasets that it trains and replays, tokenised as training tokenises.

They are read from the datasets' held-out files alone, which no plan ever reads. Rows that do not fit, that the template
refuses, that a person removed, or that the current version of their file lacks are left out. The order is that of the
rows' ids, which are hashes: the same rows come first in every stretch of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stoker.data.dataset import Dataset
from stoker.data.replaced import is_counting
from stoker.data.rows import Row
from stoker.model.encoded import Encoded
from stoker.model.token_cache import encode_dataset
from stoker.spec.jobs import DatasetRef, TrainJob


@dataclass(frozen=True)
class SealedRow:
    """A row and its sequences; at least one token of them is scored."""

    id: str
    dataset: DatasetRef
    sequences: list[Encoded]

    @property
    def num_tokens(self) -> int:
        return sum(len(sequence) for sequence in self.sequences)


def gather_sealed(job: TrainJob, tokenizer: Any, max_length: int) -> list[SealedRow]:
    """Return the sealed rows that fit into `max_length` tokens, each once."""
    found: dict[str, SealedRow] = {}
    for ref in (*job.new, *(job.replay if job.train.replay else ())):
        for row in _sealed_of(ref, job, tokenizer, max_length):
            found.setdefault(row.id, row)
    return [found[row_id] for row_id in sorted(found)]


def rows_by_id(rows: list[SealedRow]) -> dict[str, Row]:
    """Read the content of sealed rows."""
    folders = {row.dataset.folder for row in rows}
    wanted = {row.id for row in rows}
    return {row.id: row for folder in folders for row in Dataset(folder).heldout_rows() if row.id in wanted}


def _sealed_of(ref: DatasetRef, job: TrainJob, tokenizer: Any, max_length: int) -> list[SealedRow]:
    tokens = encode_dataset(Dataset(ref.folder), tokenizer, "heldout", job.tokens)
    if not tokens.row_ids:
        return []
    counts = np.ones(len(tokens.row_ids), np.bool_)
    if ref.kept_by is not None:
        counts = is_counting(tokens.row_ids, ref.kept_by)
    counts &= ~np.isin(np.array(tokens.row_ids, str), np.array(ref.removed, str))
    counts[np.asarray(tokens.row_index)[tokens.lengths > max_length]] = False
    sequences: dict[int, list[Encoded]] = {}
    for place, row in enumerate(np.asarray(tokens.row_index).tolist()):
        if counts[row]:
            sequences.setdefault(row, []).append(tokens[place])
    return [
        SealedRow(tokens.row_ids[row], ref, some)
        for row, some in sequences.items()
        if any(sequence.trained.any() for sequence in some)
    ]
