"""Scorers: from an item's expected answer and a model's answer to marks and scores between 0 and 1.

Each scorer names its primary metric, the one a verdict is reached by, and says of every metric whether it is a mark
(right or wrong: McNemar) or a graded score (bootstrap). NLL is measured for every item by the runner and needs no
answer. Scoring is pure: kept answers can be scored again at any time.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.errors import DataError
from stoker.tasks.syllo.score import score_answer

NLL = "nll"
Score = Callable[[Mapping[str, Any], str, str], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A named way to score. `metrics` maps each metric to "is it a mark"; the first one is primary."""

    name: str
    metrics: Mapping[str, bool]
    score: Score
    """Takes the item's meta, the expected answer and the given one."""

    @property
    def primary(self) -> str:
        return next(iter(self.metrics), NLL)

    @property
    def needs_answer(self) -> bool:
        return bool(self.metrics)


def find_scorer(name: str) -> Scorer:
    """Return the scorer of that name; DataError names those there are."""
    if name not in _SCORERS:
        known = ", ".join(sorted(_SCORERS))
        raise DataError(f"scorer {name!r} is not known", f"scorers are: {known}", "mend the benchmark's .toml file")
    return _SCORERS[name]


def is_scorable(scorer: Scorer, meta: Mapping[str, Any], expected: str) -> bool:
    """Tell whether any answer could be right: the expected one itself must get the full primary score."""
    try:
        return scorer.score(meta, expected, expected).get(scorer.primary, 1.0) == 1.0
    except DataError:
        return False


def matches(expected: str, answer: str) -> bool:
    """Tell whether an answer is right where no benchmark names a scorer: the same text, normalised.

    An expected answer that marks its result by "####" (GSM8K) asks for the same number.
    """
    name = "number" if "####" in expected else "normalised"
    scorer = find_scorer(name)
    return scorer.score({}, expected, answer)[scorer.primary] == 1.0


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


def last_number(text: str) -> float | None:
    """Return the number an answer ends on, or None.

    After "####" (GSM8K, Cobbe et al. 2021) the first number counts, else the last. Thousands separators, decimals,
    exponents, simple fractions, signs and currency signs are read; units and percent signs are ignored.
    """
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", "", text)
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    marked = text.rpartition("####")
    found = list(_NUMBER.finditer(marked[2]))
    if marked[1] and found:
        return _value(found[0])
    found = found if not marked[1] else list(_NUMBER.finditer(text))
    return _value(found[-1]) if found else None


def token_f1(expected: str, answer: str) -> float:
    """Return SQuAD's F1 of shared words after normalising (Rajpurkar et al. 2016); words are split at spaces."""
    wanted, given = normalise(expected).split(), normalise(answer).split()
    if not wanted or not given:
        return float(_is_same(expected, answer))
    num_shared = sum((Counter(wanted) & Counter(given)).values())
    return 2 * num_shared / (len(wanted) + len(given))


_CURRENCY = "[$\u20ac\u00a3\u00a5]"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w.)])-(?=[\d.$\u20ac\u00a3\u00a5])|(?<==\s)-\s)?{_CURRENCY}?(?P<inner>(?<={_CURRENCY})-)?"
    r"(?:(?<![\d./])(?P<top>\d+)\s?[/\u2044]\s?(?P<bottom>\d*[1-9]\d*)(?![\d/.])"
    r"|(?P<whole>(?:\d{1,3}(?:[,'\u2019]\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<exponent>[eE][+-]?\d{1,3}(?!\w))?)"
)


def _value(match: re.Match[str]) -> float:
    if match["top"]:
        value = int(match["top"][:300]) / int(match["bottom"][:300])
    else:
        value = float(re.sub(r"[,'\u2019]", "", match["whole"]) + (match["exponent"] or ""))
    return -value if match["sign"] or match["inner"] else value


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _is_same(expected: str, answer: str) -> bool:
    """Compare normalised texts; texts of nothing but punctuation or articles are compared as they are."""
    wanted, given = normalise(expected), normalise(answer)
    return wanted == given if wanted and given else expected.strip() == answer.strip()


def _exact(meta: Mapping[str, Any], expected: str, answer: str) -> dict[str, float]:
    return {"exact": float(expected.strip() == answer.strip())}


def _normalised(meta: Mapping[str, Any], expected: str, answer: str) -> dict[str, float]:
    return {"normalised": float(_is_same(expected, answer)), "f1": token_f1(expected, answer)}


def _number(meta: Mapping[str, Any], expected: str, answer: str) -> dict[str, float]:
    wanted, given = last_number(expected), last_number(answer)
    is_right = wanted is not None and given is not None and math.isclose(wanted, given, rel_tol=1e-6)
    return {"number": float(is_right)}


def _f1(meta: Mapping[str, Any], expected: str, answer: str) -> dict[str, float]:
    return {"f1": token_f1(expected, answer), "normalised": float(_is_same(expected, answer))}


def _syllo(meta: Mapping[str, Any], expected: str, answer: str) -> dict[str, float]:
    scores = score_answer(meta, answer)
    return {metric: float(scores[metric]) for metric in ("puzzle", "tiles", "words", "format")}


def _nothing(meta: Mapping[str, Any], expected: str, answer: str) -> dict[str, float]:
    return {}


_SCORERS = {
    scorer.name: scorer
    for scorer in (
        Scorer("exact", {"exact": True}, _exact),
        Scorer("normalised", {"normalised": True, "f1": False}, _normalised),
        Scorer("number", {"number": True}, _number),
        Scorer("f1", {"f1": False, "normalised": True}, _f1),
        Scorer("syllo", {"puzzle": True, "tiles": False, "words": False, "format": False}, _syllo),
        Scorer(NLL, {}, _nothing),
    )
}
