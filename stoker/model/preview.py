"""Rows as they are trained, for people to look at: the tokens of `encode_rows`, as text, with what is trained marked.

Each row goes through the mask proof as before a run, and what would stop it there is told instead of raised. A preference
pair shows both of its answers, as if each were the one that is trained. Nothing is trained here and no weights are read.
"""

from __future__ import annotations

from typing import Any

from stoker.data.rows import Message, Messages, Row
from stoker.errors import DataError, MaskProofFailed
from stoker.model.chat import chat_of
from stoker.model.encoded import Encoded
from stoker.model.mask_proof import prove
from stoker.model.segments import Segment, segments_of
from stoker.model.tokenizing import encode_prompt, encode_row, encode_row_prompt

MAX_CHARACTERS = 1_000_000


def preview_row(row: Row, tokenizer: Any, max_length: int, file_name: str) -> dict[str, Any]:
    """Return a row's segments with their counts; `problem` says why it does not train, None when it does.

    `sequences` are the pieces it is trained in: most often one. Each segment names its own.
    """
    shown: dict[str, Any] = {
        "line": row.line, "row": row.id, "kind": row.kind, "label": row.content.label,
        "thinking": None, "num_tools": len(row.tools or ()), "problem": None, "segments": [], "sequences": [],
    }  # fmt: skip
    for name, part in _parts(row):
        try:
            encoded = encode_row(part, tokenizer)
            shown["thinking"] = _thinking(part, tokenizer)
        except DataError as error:
            shown["problem"] = error.what
            continue
        shown["problem"] = shown["problem"] or _disproof(encoded, part, tokenizer, file_name)
        for sequence in encoded:
            shown["segments"] += _segments(sequence, tokenizer, len(shown["sequences"]))
            shown["sequences"].append(_counts(name, sequence, max_length))
    longest = max((sequence["num_tokens"] for sequence in shown["sequences"]), default=0)
    if longest > max_length and shown["problem"] is None:
        shown["problem"] = f"{longest:,} tokens, at most {max_length:,} fit (train.max_length); rows are never cut"
    return shown


def _parts(row: Row) -> list[tuple[str | None, Row]]:
    chosen, rejected = row.content.chosen, row.content.rejected
    if chosen is None or rejected is None:
        return [(None, row)]
    return [("chosen", _answered(row, chosen)), ("rejected", _answered(row, rejected))]


def _answered(row: Row, answer: Messages) -> Row:
    """Return a pair's conversation with one of its answers; what the assistant said before is given, not trained."""
    before = [_untrained(turn) for turn in row.messages or ()]
    return Row.from_content(row.line, [*before, *answer], tools=row.tools)


def _untrained(turn: Message) -> Message:
    return {**turn, "weight": 0} if turn["role"] == "assistant" else turn


def _thinking(row: Row, tokenizer: Any) -> bool | None:
    """Tell whether the last answer's prompt has thinking on; None where the template has no switch."""
    answers = row.trained_turns()
    if row.messages is None or not answers or not chat_of(tokenizer).has_thinking_switch:
        return None
    plain = encode_prompt(row.messages[: answers[-1]], row.tools, tokenizer)
    return bool(encode_row_prompt(row, tokenizer).tolist() != plain.tolist())


def _disproof(encoded: list[Encoded], row: Row, tokenizer: Any, file_name: str) -> str | None:
    """Return what the mask proof says against the row, its length apart; None when it passes."""
    try:
        prove(encoded, {row.id: row}, tokenizer, max(map(len, encoded)), file_name)
    except MaskProofFailed as error:
        return error.what
    return None


def _segments(sequence: Encoded, tokenizer: Any, number: int) -> list[dict[str, Any]]:
    segments = segments_of(sequence, tokenizer)
    if sum(len(text) for text, _ in segments) > MAX_CHARACTERS:
        segments = [_shortened(segment, MAX_CHARACTERS // len(segments)) for segment in segments]
    return [{"text": text, "trained": is_trained, "sequence": number} for text, is_trained in segments]


def _shortened(segment: Segment, num_characters: int) -> Segment:
    half = num_characters // 2
    hidden = len(segment.text) - 2 * half
    if hidden <= 0:
        return segment
    shown = f"{segment.text[:half]}[... {hidden:,} characters not shown ...]{segment.text[len(segment.text) - half :]}"
    return Segment(shown, segment.is_trained)


def _counts(part: str | None, sequence: Encoded, max_length: int) -> dict[str, Any]:
    num_tokens = len(sequence)
    return {
        "part": part, "num_tokens": num_tokens, "num_trained_tokens": int(sequence.trained.sum()),
        "fits": num_tokens <= max_length,
    }  # fmt: skip
