"""Loops inside an answer: the same words, or the same few characters, over and over, as a broken generator writes them.

A loop is a tandem repeat: a unit of p words that follows itself at least MIN_REPEATS times over at least MIN_WORDS words. In the
spirit of the repetition filters of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1), which count repeated n-grams wherever
they stand; here they must follow each other, since code, tables and verse repeat words without being broken. Units without a
letter (rows of numbers, ruled lines) don't count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MIN_REPEATS = 4
MIN_WORDS = 12
_MAX_PERIOD = 40
_MAX_DISTINCT_SHARE = 0.8
_CHARACTERS = re.compile(r"([^\W\d_]{1,8}?)\1{9,}")


class Loop(NamedTuple):
    """`unit` follows itself `repeats` times; `share` of the answer is made of it."""

    unit: str
    repeats: int
    share: float


def find_loop(answer: str, words: Sequence[str]) -> Loop | None:
    """Return the loop that makes up most of an answer (`words`: its folded words), None when there is none."""
    if len(words) < MIN_WORDS:
        return _character_loop(answer)
    vocabulary: dict[str, int] = {}
    codes = np.array([vocabulary.setdefault(word, len(vocabulary)) for word in words], np.int64)
    if len(vocabulary) > _MAX_DISTINCT_SHARE * len(words):
        return None
    best: Loop | None = None
    for period in range(1, min(_MAX_PERIOD, len(words) // MIN_REPEATS) + 1):
        breaks = np.flatnonzero(codes[period:] != codes[:-period])
        edges = np.concatenate(([-1], breaks, [len(codes) - period]))
        runs = np.diff(edges) - 1
        longest = int(runs.argmax())
        span = int(runs[longest]) + period
        if span < max(MIN_WORDS, MIN_REPEATS * period) or (best and span / len(words) <= best.share):
            continue
        start = int(edges[longest]) + 1
        unit = " ".join(words[start : start + period])
        if any(character.isalpha() for character in unit):
            best = Loop(unit, span // period, span / len(words))
    return best


def _character_loop(answer: str) -> Loop | None:
    found = _CHARACTERS.search(answer)
    if found is None:
        return None
    return Loop(found[1], len(found[0]) // len(found[1]), len(found[0]) / len(answer.strip()))
