"""Sentences that many answers begin or end with: "Sure! Here is what you asked for:", "I hope this helps!".

A model learns them first and says them always. Only whole sentences count, so that answers of one pattern are left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from stoker.data.checks.sample import Sampled
from stoker.data.sealing.words import words_of

MIN_ROWS = 10
MIN_SHARE = 0.1
_MAX_WORDS = 30
_OPENING = re.compile(r"\s*([^\W\d_][^\n.!?:]{1,200}[.!?:\n])\s*\S")
_CLOSING = re.compile(r"[\n.!?:]\s*([^\n.!?]{8,200}[.!?]*)\s*\Z")


def phrase_findings(sample: Sequence[Sampled]) -> Iterator[str]:
    """Yield what many answers share, the most frequent first."""
    answers = [one for one in sample if not one.is_text]
    for where, pattern, min_words in (("begin", _OPENING, 1), ("end", _CLOSING, 3)):
        counts: Counter[str] = Counter()
        shown: dict[str, str] = {}
        for one in answers:
            found = pattern.match(one.beginning) if where == "begin" else pattern.search(one.end)
            if found is None:
                continue
            words = words_of(found[1])
            if min_words <= len(words) <= _MAX_WORDS and any(map(str.isalpha, words)):
                shown.setdefault(" ".join(words), found[1].strip())
                counts[" ".join(words)] += 1
        for phrase, number in counts.most_common(3):
            if number >= max(MIN_ROWS, MIN_SHARE * len(answers)):
                yield f"{number / len(answers):.0%} of the answers {where} with {shown[phrase]!r}"
