"""Measuring one model on rows: NLL of all, greedy answers of some, in batches, each result kept at once.

Only what the answer book lacks is computed, and a model is loaded only for that. Between batches `beat` is called:
it reports progress and raises Paused when the supervisor asks for a pause; what was measured stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import torch

from stoker.data.rows import Row
from stoker.errors import NonFinite
from stoker.evaluate.answers import Answer, AnswerBook, Likelihood, Unfit
from stoker.evaluate.progress import Beat
from stoker.model.encoded import Encoded
from stoker.model.generation import generate
from stoker.model.likelihood import mean_nll_that_fits, token_counts
from stoker.model.load import Loaded
from stoker.model.tokenizing import encode_row_prompt, encode_rows
from stoker.spec.lab import EvaluateSpec, TrainSpec

MAX_AUTO_LENGTH = 4096
_CHUNK_TOKENS = 1 << 15
_BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row to measure, and whether its answer is wanted too, no longer than `max_new_tokens` (None: the setting)."""

    row: Row
    is_answered: bool
    max_new_tokens: int | None = None


def missing(book: AnswerBook, wanted: Sequence[Wanted], max_length: int) -> tuple[list[Row], list[Wanted]]:
    """Return the rows whose likelihood, and what of it whose answer, the book lacks."""
    fit = [each for each in wanted if book.unfit_reason(each.row.id, max_length) is None]
    likelihoods = {each.row.id: each.row for each in fit if book.likelihood(each.row.id) is None}
    answers = [each for each in fit if each.is_answered and book.answer(each.row.id, each.max_new_tokens) is None]
    return list(likelihoods.values()), answers


def measure(
    book: AnswerBook,
    wanted: Sequence[Wanted],
    load: Callable[[], Loaded],
    evaluate: EvaluateSpec,
    max_length: int,
    beat: Beat,
) -> None:
    """Fill the book with what it lacks of the rows; loads the model only when it lacks something."""
    likelihoods, answers = missing(book, wanted, max_length)
    if not likelihoods and not answers:
        return
    loaded = load()
    _measure_likelihoods(book, likelihoods, loaded, max_length, beat)
    fit = [each for each in answers if book.unfit_reason(each.row.id, max_length) is None]
    beat(len(answers) - len(fit))
    _measure_answers(book, fit, loaded, evaluate, beat)


def resolve_max_length(base_folder: Path, train: TrainSpec) -> int:
    """Return the longest sequence taken, in tokens: the setting, or the model's context up to 4096."""
    if train.max_length != "auto":
        return train.max_length
    config = orjson.loads((base_folder / "config.json").read_bytes())
    context = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    return min(MAX_AUTO_LENGTH, int(context)) if context else MAX_AUTO_LENGTH


def _measure_likelihoods(book: AnswerBook, rows: Sequence[Row], loaded: Loaded, max_length: int, beat: Beat) -> None:
    refused: dict[str, str] = {}
    encoded = dict(zip([row.id for row in rows], encode_rows(rows, loaded.tokenizer, refused), strict=True))
    fit: dict[str, list[Encoded]] = {}
    for row_id, sequences in encoded.items():
        length = max((len(sequence) for sequence in sequences), default=0)
        if row_id in refused or not any(sequence.trained.any() for sequence in sequences):
            book.add_unfit(row_id, Unfit(length, refused.get(row_id, "no token to score")))
        elif length > max_length:
            book.add_unfit(row_id, Unfit(length, ""))
        else:
            fit[row_id] = sequences
    beat(len(encoded) - len(fit))
    order = sorted(fit, key=lambda row_id: -max(len(sequence) for sequence in fit[row_id]))
    for chunk in _chunks(order, fit):
        sequences = [sequence for row_id in chunk for sequence in fit[row_id]]
        nlls = mean_nll_that_fits(loaded, sequences, _BATCH_TOKENS, lambda done, total: beat(0))
        start = 0
        for row_id in chunk:
            end = start + len(fit[row_id])
            book.add_likelihood(row_id, _likelihood(row_id, fit[row_id], nlls[start:end], loaded))
            start = end
        beat(len(chunk))


def _likelihood(row_id: str, sequences: list[Encoded], nlls: np.ndarray, loaded: Loaded) -> Likelihood:
    """Weigh a row's sequences by their trained tokens."""
    counts = token_counts(sequences)
    scored = counts > 0
    nll = float(np.average(nlls[scored], weights=counts[scored]))
    if not math.isfinite(nll):
        label = loaded.ref.label if loaded.ref else "the model"
        raise NonFinite(f"the NLL of row {row_id} under {label} is not finite: its weights or its numerics are broken")
    return Likelihood(nll, int(counts.sum()), max(len(sequence) for sequence in sequences))


def _measure_answers(
    book: AnswerBook, wanted: Sequence[Wanted], loaded: Loaded, evaluate: EvaluateSpec, beat: Beat
) -> None:
    for limit in dict.fromkeys(each.max_new_tokens for each in wanted):
        rows = [each.row for each in wanted if each.max_new_tokens == limit]
        _answer_up_to(limit or evaluate.max_new_tokens, book, rows, loaded, evaluate, beat)


def _answer_up_to(
    limit: int, book: AnswerBook, rows: Sequence[Row], loaded: Loaded, evaluate: EvaluateSpec, beat: Beat
) -> None:
    prompts = [(row.id, encode_row_prompt(row, loaded.tokenizer)) for row in rows]
    prompts.sort(key=lambda prompt: -len(prompt[1]))
    size, start = evaluate.batch_size, 0
    while start < len(prompts):
        batch = prompts[start : start + size]
        try:
            generated = generate(loaded, [ids for _, ids in batch], limit, size)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            torch.cuda.empty_cache()
            continue
        for (row_id, _), answer in zip(batch, generated, strict=True):
            book.add_answer(row_id, Answer(answer.text, answer.finished), limit)
        start += len(batch)
        beat(len(batch))


def _chunks(order: Sequence[str], encoded: dict[str, list[Encoded]]) -> list[list[str]]:
    """Cut the rows into pieces of some tens of thousands of tokens: what a crash may lose."""
    chunks: list[list[str]] = []
    tokens = _CHUNK_TOKENS
    for row_id in order:
        if tokens >= _CHUNK_TOKENS:
            chunks.append([])
            tokens = 0
        chunks[-1].append(row_id)
        tokens += sum(len(sequence) for sequence in encoded[row_id])
    return chunks
