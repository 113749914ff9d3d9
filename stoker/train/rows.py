"""The rows of a run as tokens: tokenised or taken from the cache, the too long ones left out and told, the rest proven.

A row that does not fit is quarantined, never cut. Each dataset's proof is kept beside its tokens, so a warm worker
can prepare the next run while the present one is judged.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from stoker.data.dataset import Dataset
from stoker.data.replaced import is_counting
from stoker.durable import MANIFEST, sha256_file, write_atomic
from stoker.errors import InvalidInput
from stoker.mailbox.messages import Outbox
from stoker.model.encoded import EncodedSet
from stoker.model.mask_proof import prove
from stoker.model.token_cache import encode_dataset, tokenizer_sha256
from stoker.spec.jobs import DatasetRef, TrainJob
from stoker.train.plan import Lengths

PROOF = "mask_proof.txt"
_PROOF_VERSION = "1"


@dataclass(frozen=True)
class TrainingRows:
    """The tokens of the new datasets and of those that are replayed, and what the plan needs of them."""

    new: list[Lengths]
    earlier: list[Lengths]
    encoded: list[EncodedSet]
    proof: str

    @property
    def lengths(self) -> list[Lengths]:
        return [*self.new, *self.earlier]


def gather_rows(job: TrainJob, tokenizer: Any, max_length: int, outbox: Outbox) -> TrainingRows:
    """Tokenise and prove every dataset of the job. MaskProofFailed names file and line; InvalidInput: nothing fits."""
    refs = [*job.new, *(job.replay if job.train.replay else ())]
    encoded, lengths, proofs = [], [], []
    for number, ref in enumerate(refs):
        outbox.phase("tokenize", number, len(refs))
        dataset = Dataset(ref.folder)
        tokens = encode_dataset(dataset, tokenizer, "train", job.tokens)
        part = lengths_of(ref.id, tokens, max_length, ref.removed)
        _tell_left_out(ref, tokens, part, max_length, outbox)
        outbox.phase("proof", number, len(refs))
        proofs.append(_proven(ref, dataset, tokens, part, tokenizer, max_length, job.tokens))
        encoded.append(tokens)
        lengths.append(_counting(ref, tokens, part, outbox))
    num_new = len(job.new)
    if not any(part.is_usable.any() for part in lengths[:num_new]):
        raise InvalidInput(
            f"no row of {', '.join(ref.name for ref in job.new)} can be trained",
            f"each row must fit into {max_length:,} tokens (train.max_length), be rendered by the chat template, stand in the "
            "current version of its file and not be removed by review",
            "split the rows, raise train.max_length, or add rows; see: stoker data versions",
        )
    return TrainingRows(lengths[:num_new], lengths[num_new:], encoded, "\n\n".join(proofs))


def lengths_of(dataset_id: str, tokens: EncodedSet, max_length: int, removed: Sequence[str] = ()) -> Lengths:
    """Return what a plan needs of a dataset; a row is usable when all its sequences fit and no person removed it."""
    lengths = np.asarray(tokens.lengths, dtype=np.int64)
    row_index = np.asarray(tokens.row_index, dtype=np.int64)
    is_usable = np.ones(len(tokens.row_ids), dtype=np.bool_)
    is_usable[row_index[lengths > max_length]] = False
    if removed:
        is_usable[np.isin(np.array(tokens.row_ids, str), np.array(removed, str))] = False
    return Lengths(dataset_id, lengths, row_index, is_usable)


def _counting(ref: DatasetRef, tokens: EncodedSet, part: Lengths, outbox: Outbox) -> Lengths:
    """Leave out the rows of a dataset that none of those has that keep its rows."""
    if ref.kept_by is None:
        return part
    is_usable = part.is_usable & is_counting(tokens.row_ids, ref.kept_by)
    num_out = int(part.is_usable.sum() - is_usable.sum())
    keepers = ", ".join(folder.name for folder in ref.kept_by[:3]) + (", ..." if len(ref.kept_by) > 3 else "")
    text = (
        f"{num_out:,} rows of {ref.name} ({ref.id}) do not train: of its rows only those count that {keepers} has too"
    )
    outbox.event("info", "rows.replaced", text, dataset=ref.id, rows=num_out)
    return dataclasses.replace(part, is_usable=is_usable)


def _tell_left_out(ref: DatasetRef, tokens: EncodedSet, part: Lengths, max_length: int, outbox: Outbox) -> None:
    """Quarantine what can't be trained: rows that the template refuses, and rows that do not fit."""
    removed = frozenset(ref.removed)
    refused = [r for r in tokens.refused if r.row_id not in removed]
    rows = [{"row": r.row_id, "line": r.line, "code": "template", "reason": r.reason} for r in refused]
    longest = np.zeros(len(tokens.row_ids), dtype=np.int64)
    np.maximum.at(longest, part.row_index, part.lengths)
    rows += [
        {
            "row": tokens.row_ids[row], "line": int(tokens.lines[row]), "code": "too-long",
            "reason": f"{longest[row]:,} tokens, at most {max_length:,} fit (train.max_length); rows are never cut",
        }
        for row in np.flatnonzero(longest > max_length).tolist()
        if tokens.row_ids[row] not in removed
    ]  # fmt: skip
    if rows:
        outbox.send("quarantined", dataset=ref.id, rows=rows)


def _proven(
    ref: DatasetRef, dataset: Dataset, tokens: EncodedSet, part: Lengths, tokenizer: Any, max_length: int, cache: Path
) -> str:
    """Return the dataset's mask proof: made now, or earlier for the very same tokens, template and limit."""
    path = cache / "proofs" / f"{_proof_key(ref, tokenizer, max_length)}.txt"
    if path.exists():
        return path.read_text("utf-8")
    usable = part.sequences_of(part.usable_rows)
    rows = {row.id: row for row in dataset.train_rows()}
    text = prove([tokens[int(i)] for i in usable], rows, tokenizer, max_length, ref.name)
    write_atomic(path, text.encode(), fault="proof")
    return text


def _proof_key(ref: DatasetRef, tokenizer: Any, max_length: int) -> str:
    content = sha256_file(ref.folder / MANIFEST)
    facts: list[Any] = [_PROOF_VERSION, ref.name, content, max_length, tokenizer_sha256(tokenizer)]
    if ref.removed:
        facts.append(list(ref.removed))
    return hashlib.sha256(orjson.dumps(facts)).hexdigest()[:32]


def tiny_rows(datasets: Sequence[DatasetRef]) -> Iterable[Any]:
    """Yield the rows that a tiny base's tokenizer is made from."""
    for ref in datasets:
        removed = frozenset(ref.removed)
        yield from (row for row in Dataset(ref.folder).train_rows() if row.id not in removed)
