"""Answers by regular expression: a part taken out of the answer and compared, or a pattern the answer must match."""

from __future__ import annotations

import regex

from stoker.analysis.scorers.base import Meta, Scorer, accepted
from stoker.errors import DataError

_SECONDS = 1.0
"""A pattern that takes longer on one answer does not match it: nested repeats can take for ever."""


def regex_scorer(pattern: str = "") -> Scorer:
    """Return the scorer of a pattern; without one, each item's meta `pattern` must be found in the answer.

    With a pattern, the last place where it matches gives the text (its first group, or the whole), which must be the
    expected one. DataError when it is no regular expression.
    """
    compiled = _compile(pattern) if pattern else None

    def score(meta: Meta, expected: str, answer: str) -> dict[str, float]:
        if compiled is None:
            own = meta.get("pattern")
            return {"regex": float(isinstance(own, str) and _search(_compile(own), answer) is not None)}
        found = _last(compiled, answer)
        return {
            "regex": float(found is not None and found.strip() in (each.strip() for each in accepted(meta, expected)))
        }

    return Scorer("regex", {"regex": True}, score, is_proven=compiled is None)


def _compile(pattern: str) -> regex.Pattern[str]:
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise DataError(
            f"the pattern {pattern!r} is no regular expression: {error}", "a scorer can't use it", "mend the pattern"
        ) from None


def _search(pattern: regex.Pattern[str], answer: str) -> regex.Match[str] | None:
    try:
        return pattern.search(answer, timeout=_SECONDS)
    except TimeoutError:
        return None


def _last(pattern: regex.Pattern[str], answer: str) -> str | None:
    found = None
    try:
        for match in pattern.finditer(answer, timeout=_SECONDS):
            found = match
    except TimeoutError:
        return None
    if found is None:
        return None
    groups = [group for group in found.groups() if group is not None]
    return groups[0] if groups else found.group()
