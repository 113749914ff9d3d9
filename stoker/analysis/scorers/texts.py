"""Right or wrong by the text: the same, the same once normalised, contained, a share of the words."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

from stoker.analysis.scorers.base import Meta, Scorer, accepted


def normalise(text: str) -> str:
    """Return text without case, punctuation, articles and extra space, as SQuAD's evaluation does.

    Rajpurkar et al. 2016, evaluate-v1.1.py, with three repairs: Unicode forms are unified (NFKC) and all Unicode
    punctuation goes; a minus sign and a decimal point that belong to a number stay, so that 3.14 is not 314.
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").lower()
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    kept = {match.start() for match in re.finditer(r"(?<=\d)\.(?=\d)|(?<![\w.)-])-(?=\.?\d)", text)}
    text = "".join(char for index, char in enumerate(text) if index in kept or not _is_punctuation(char))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def token_f1(expected: str, answer: str) -> float:
    """Return SQuAD's F1 of shared words after normalising (Rajpurkar et al. 2016); words are split at spaces."""
    wanted, given = normalise(expected).split(), normalise(answer).split()
    if not wanted or not given:
        return float(is_same(expected, answer))
    num_shared = sum((Counter(wanted) & Counter(given)).values())
    return 2 * num_shared / (len(wanted) + len(given))


def is_same(expected: str, answer: str) -> bool:
    """Compare normalised texts; texts of nothing but punctuation or articles are compared as they are."""
    wanted, given = normalise(expected), normalise(answer)
    return wanted == given if wanted and given else expected.strip() == answer.strip()


def is_contained(expected: str, answer: str) -> bool:
    """Tell whether the expected text's words stand in the answer in this order, next to each other."""
    wanted, given = normalise(expected).split(), normalise(answer).split()
    if not wanted:
        return bool(expected.strip()) and expected.strip() in answer
    return any(given[start : start + len(wanted)] == wanted for start in range(len(given) - len(wanted) + 1))


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _exact(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {"exact": float(any(each.strip() == answer.strip() for each in accepted(meta, expected)))}


def _normalised(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {"normalised": _same(meta, expected, answer), "f1": _best_f1(meta, expected, answer)}


def _f1(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {"f1": _best_f1(meta, expected, answer), "normalised": _same(meta, expected, answer)}


def _contains(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {"contains": float(any(is_contained(each, answer) for each in accepted(meta, expected)))}


def _same(meta: Meta, expected: str, answer: str) -> float:
    return float(any(is_same(each, answer) for each in accepted(meta, expected)))


def _best_f1(meta: Meta, expected: str, answer: str) -> float:
    return max(token_f1(each, answer) for each in accepted(meta, expected))


EXACT = Scorer("exact", {"exact": True}, _exact)
NORMALISED = Scorer("normalised", {"normalised": True, "f1": False}, _normalised)
F1 = Scorer("f1", {"f1": False, "normalised": True}, _f1)
CONTAINS = Scorer("contains", {"contains": True}, _contains)
