"""A token sequence as text again, cut where training begins and where it ends: what a person reads to know what is trained.

The texts are decoded from the very ids, special tokens among them; joined they are the whole sequence. It marks nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from stoker.model.encoded import Encoded


class Segment(NamedTuple):
    """Neighbouring tokens as text, all of them trained or none."""

    text: str
    is_trained: bool


def segments_of(sequence: Encoded, tokenizer: Any) -> list[Segment]:
    """Return the sequence's segments in order."""
    changes = np.flatnonzero(np.diff(sequence.trained)) + 1
    segments: list[Segment] = []
    before = ""
    for start, end in pairwise([0, *changes.tolist(), len(sequence.ids)]):
        # A decoder may treat the first token of a text otherwise (SentencePiece drops its space), so each segment is
        # what the text up to its end has more than the text up to its start.
        upto = _decode(sequence.ids[:end].tolist(), tokenizer)
        is_continued = upto.startswith(before)
        text = upto[len(before) :] if is_continued else _decode(sequence.ids[start:end].tolist(), tokenizer)
        segments.append(Segment(text, bool(sequence.trained[start])))
        before = upto
    return segments


def _decode(ids: list[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
