"""From rows to token sequences, through the tokenizer's own chat template.

Two things hold by construction (`stoker.data.tokens.layout`). The tokens before an answer are exactly `encode_prompt` of the
messages before it. Every assistant turn but those of weight 0 is trained once, up to and including its stop token.
`mask_proof` checks both afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from stoker.data.rows import Row
from stoker.data.tokens.layout import (
    TEMPLATE_ERRORS,
    PieceTokens,
    Plan,
    plan_row,
    refusal,
    render_turn,
    tokenize_pieces,
)
from stoker.errors import DataError
from stoker.model.chat import chat_of
from stoker.model.encoded import Encoded, Ids

__all__ = [
    "Encoded",
    "encode_prompt",
    "encode_row",
    "encode_row_prompt",
    "encode_rows",
    "row_prompts",
    "stop_token_ids",
]

_CHUNK_ROWS = 2048


def encode_rows(rows: Sequence[Row], tokenizer: Any, refused: dict[str, str] | None = None) -> list[list[Encoded]]:
    """Return each row's sequences.

    A row that the template refuses gets none, and its reason goes into `refused`; without `refused`, DataError.
    """
    encoded: list[list[Encoded]] = []
    for start in range(0, len(rows), _CHUNK_ROWS):
        encoded.extend(_encode_chunk(rows[start : start + _CHUNK_ROWS], tokenizer, refused))
    return encoded


def encode_row(row: Row, tokenizer: Any) -> list[Encoded]:
    """Return the sequences of one row; DataError when the template refuses it."""
    return encode_rows([row], tokenizer)[0]


def encode_prompt(
    messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None, tokenizer: Any, thinking: bool = False
) -> Ids:
    """Return the tokens that make the model answer these messages: what serving sends."""
    chat = chat_of(tokenizer)
    try:
        text = chat.render(messages, tools, prompt=True, thinking=thinking)
    except TEMPLATE_ERRORS as error:
        raise refusal(f"the chat template refuses these messages ({error})") from error
    return np.array(_tokenize([text], tokenizer)[0], dtype=np.int32)


def encode_row_prompt(row: Row, tokenizer: Any) -> Ids:
    """Return the prompt of a row's last answer, as it is trained: thinking is on when the answer holds thinking."""
    if row.messages is None:
        raise refusal(f"line {row.line}: a row of plain text has no prompt")
    answers = row.trained_turns()
    if not answers:
        return encode_prompt(row.messages, row.tools, tokenizer)
    turn = render_turn(row, answers[-1], chat_of(tokenizer))
    return np.array(_tokenize([turn.prompt], tokenizer)[0], dtype=np.int32)


def row_prompts(rows: Sequence[Row], tokenizer: Any) -> list[list[list[int]]]:
    """Return, for each conversation, the prompt of each trained turn, every one tokenised as a whole text."""
    chat = chat_of(tokenizer)
    texts = [[render_turn(row, i, chat).prompt for i in row.trained_turns()] for row in rows]
    ids = iter(_tokenize([text for prompts in texts for text in prompts], tokenizer))
    return [[next(ids) for _ in prompts] for prompts in texts]


def stop_token_ids(tokenizer: Any) -> list[int]:
    """Return what generation stops at: the template's end of an assistant turn first, then the eos token."""
    return chat_of(tokenizer).stop_ids


def _encode_chunk(rows: Sequence[Row], tokenizer: Any, refused: dict[str, str] | None) -> list[list[Encoded]]:
    plans: list[Plan | None] = []
    for row in rows:
        try:
            plans.append(plan_row(row, chat_of(tokenizer)) if row.messages is not None else Plan(row))
        except DataError as error:
            if refused is None:
                raise
            refused[row.id] = str(error)
            plans.append(None)
    laid_out = [plan for plan in plans if plan is not None and plan.turns]
    ids_of = (
        tokenize_pieces(laid_out, partial(_tokenize, tokenizer=tokenizer), chat_of(tokenizer)) if laid_out else None
    )
    texts = [plan.row for plan in plans if plan is not None and plan.row.text is not None]
    plain = iter(_encode_texts(texts, tokenizer))
    return [
        [] if plan is None else _assemble(plan, ids_of) if ids_of is not None and plan.turns else [next(plain)]
        for plan in plans
    ]


def _assemble(plan: Plan, ids_of: PieceTokens) -> list[Encoded]:
    encoded = []
    for sequence in plan.sequences:
        ids: list[int] = []
        trained: list[bool] = []
        for i, piece in enumerate(sequence):
            piece_ids = ids_of.of(piece.text) if i else ids_of.whole(piece.text)
            ids += piece_ids
            trained += [piece.is_trained] * len(piece_ids)
        encoded.append(_encoded(ids, trained, plan.row))
    return encoded


def _encode_texts(rows: Sequence[Row], tokenizer: Any) -> list[Encoded]:
    """Encode rows of plain text: every token is trained, and the eos token after them."""
    if not rows:
        return []
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else stop_token_ids(tokenizer)[0]
    encoded = []
    for row, ids in zip(rows, _tokenize([str(row.text) for row in rows], tokenizer, with_special=True), strict=True):
        whole = ids if ids and ids[-1] == end else [*ids, end]
        encoded.append(_encoded(whole, [True] * len(whole), row))
    return encoded


def _encoded(ids: list[int], trained: list[bool], row: Row) -> Encoded:
    mask = np.array(trained, dtype=np.bool_)
    mask[:1] = False
    return Encoded(np.array(ids, dtype=np.int32), mask, row.id, row.line)


def _tokenize(texts: list[str], tokenizer: Any, with_special: bool = False) -> list[list[int]]:
    if not texts:
        return []
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "encode_batch_fast"):
        ids: list[list[int]] = tokenizer(texts, add_special_tokens=with_special)["input_ids"]
        return ids
    backend.no_truncation()
    backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=with_special)]
