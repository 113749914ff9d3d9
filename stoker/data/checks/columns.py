"""Keys that a file has, no format reads, and someone surely meant: misspelt names, and labels beside plain text."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from stoker.data.formats.keys import (
    ANSWER_KEYS,
    CHOSEN_KEYS,
    CONVERSATION_KEYS,
    QUESTION_KEYS,
    REJECTED_KEYS,
    SYSTEM_KEYS,
)

_KNOWN = (*QUESTION_KEYS, *ANSWER_KEYS, *CONVERSATION_KEYS, *CHOSEN_KEYS, *REJECTED_KEYS, *SYSTEM_KEYS)
_LIKENESS = 0.83
_LABELS = ("label", "labels", "class", "sentiment", "intent")


def ignored_keys(unused: Mapping[str, int], formats: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield (what, rows) for each unused key that looks meant; `formats` counts the rows of each format."""
    for key, num_rows in sorted(unused.items()):
        likely = [] if key in _KNOWN or "_" in key else difflib.get_close_matches(key.lower(), _KNOWN, 1, _LIKENESS)
        if likely:
            yield f"{key!r} is not read; was {likely[0]!r} meant?", num_rows
        elif key.lower() in _LABELS and formats.get("text"):
            yield f"{key!r} is not read: the rows train as plain text, without it", min(num_rows, formats["text"])
