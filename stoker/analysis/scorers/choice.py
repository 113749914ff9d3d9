"""Multiple choice: which of an item's options an answer names. The options are the item's meta `choices`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stoker.analysis.scorers.base import Meta, Scorer
from stoker.analysis.scorers.texts import is_contained, is_same, normalise

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALONE = re.compile(r"^\W*([A-Z])\W*$", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:answer|option|choice)\b\W*(?:is|:|=)?\W*\(?([A-Z])\b(?!')", re.IGNORECASE)
_LED = re.compile(r"^\W*\(?([A-Z])[).:]")


def choices_of(meta: Meta) -> list[str]:
    """Return an item's options; empty when it has none that can be used."""
    choices = meta.get("choices")
    is_usable = isinstance(choices, list) and 2 <= len(choices) <= len(LETTERS)
    return [str(choice) for choice in choices] if is_usable and isinstance(choices, list) else []


def expected_choice(choices: Sequence[str], expected: str) -> int | None:
    """Return the index of the right option: the expected answer is its text, or else its letter."""
    for index, choice in enumerate(choices):
        if choice.strip() == expected.strip():
            return index
    return _letter(_ALONE.match(expected.strip()), len(choices))


def chosen(choices: Sequence[str], answer: str) -> int | None:
    """Return the index of the option that an answer names, None when it names none or more than one.

    In this order: a letter alone, "the answer is B", a letter in front ("B. Paris"), an option's text alone, the one
    option whose text stands in the answer.
    """
    text = answer.strip()
    for pattern in (_ALONE, _LED):
        if (index := _letter(pattern.match(text), len(choices))) is not None:
            return index
    named = {_letter(match, len(choices)) for match in _NAMED.finditer(text)} - {None}
    if len(named) == 1:
        return named.pop()
    same = [index for index, choice in enumerate(choices) if is_same(choice, text)]
    if len(same) == 1:
        return same[0]
    held = [index for index, choice in enumerate(choices) if is_contained(choice, text)]
    held = [index for index in held if not any(_is_within(choices[index], choices[other]) for other in held)]
    return held[0] if len(held) == 1 else None


def _score(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    choices = choices_of(meta)
    wanted, given = expected_choice(choices, expected), chosen(choices, answer)
    return {"choice": float(wanted is not None and wanted == given)}


def _letter(match: re.Match[str] | None, num_choices: int) -> int | None:
    if match is None:
        return None
    index = LETTERS.index(match[1].upper())
    return index if index < num_choices else None


def _is_within(short: str, long: str) -> bool:
    return len(normalise(short)) < len(normalise(long)) and is_contained(short, long)


CHOICE = Scorer("choice", {"choice": True}, _score)
