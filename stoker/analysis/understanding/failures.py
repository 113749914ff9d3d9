"""What kind of failure a wrong answer is, by simple signs, the first that fits: a count of them says what to mend.

empty      nothing was answered
repeats    a stretch of words comes again and again at its end
cut-off    it was ended by the limit of tokens
refusal    it says that it can't or won't
format     expected a number, JSON or a single line, and there is none
near       but for a few characters it is what was expected, or the number is off by at most a tenth
wrong      everything else
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import orjson

from stoker.analysis.understanding.marks import Marked

Kind = Literal["empty", "repeats", "cut-off", "refusal", "format", "near", "wrong"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANING: dict[Kind, str] = {
    "empty": "nothing was answered",
    "repeats": "it says the same again and again",
    "cut-off": "it was cut off at the limit of tokens",
    "refusal": "it says that it can't or won't",
    "format": "a number, JSON or one line was expected",
    "near": "but for a few characters it is right",
    "wrong": "a whole other answer",
}
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am)? (?:sorry|afraid|unable|not able)|i (?:can ?not|can't|won't|do not|don't) "
    r"(?:help|assist|answer|provide|know|do that|comply|determine)|as an ai|i must decline|i apologi[sz]e)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_NEAR_RATIO = 0.8
_NEAR_CHARS = 2000
_LEAST_TIMES = 3
_LONGEST_PERIOD = 40


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the answers are beside what was expected (characters), and how many were cut off at the limit."""

    num_answers: int
    num_cut_off: int
    cut_off: float
    median_answer: int
    median_expected: int
    num_overlong: int
    overlong: float


def kind_of(one: Marked) -> Kind:
    """Return what kind of failure a wrong answer is."""
    given, expected = (one.given or "").strip(), one.item.expected.strip()
    if not given:
        return "empty"
    if repeats(given):
        return "repeats"
    if one.item.finished is False:
        return "cut-off"
    if _REFUSAL.search(given.replace("\u2019", "'")) and not _REFUSAL.search(expected.replace("\u2019", "'")):
        return "refusal"
    if _is_other_format(expected, given):
        return "format"
    return "near" if _is_near(expected, given) else "wrong"


def kinds_of(wrong: Sequence[Marked]) -> list[tuple[Kind, list[Marked]]]:
    """Return the wrong answers by kind, the commonest first."""
    found: dict[Kind, list[Marked]] = {}
    for one in wrong:
        found.setdefault(kind_of(one), []).append(one)
    return sorted(found.items(), key=lambda pair: (-len(pair[1]), KINDS.index(pair[0])))


def repeats(text: str) -> bool:
    """Tell whether a text ends in the same words three times or more that are a quarter of it, or eight letters or more."""
    words = text.split()
    for period in range(1, min(_LONGEST_PERIOD, len(words) // _LEAST_TIMES) + 1):
        times, tail = 1, words[-period:]
        while words[-period * (times + 1) : -period * times] == tail:
            times += 1
        if times >= _LEAST_TIMES and period * times >= max(6, len(words) // 4):
            return True
    return re.search(r"(\S{1,8}?)\1{7,}$", text) is not None


def lengths_of(items: Sequence[Marked], overlong_factor: float = 3.0) -> Lengths | None:
    """Return how long the generated answers are; None when none was generated."""
    answered = [one for one in items if one.item.answer is not None]
    if not answered:
        return None
    num_cut = sum(one.item.finished is False for one in answered)
    num_long = sum(
        len(one.item.answer or "") > overlong_factor * max(1, len(one.item.expected)) + 8 for one in answered
    )
    return Lengths(
        len(answered), num_cut, num_cut / len(answered),
        _median([len(one.item.answer or "") for one in answered]), _median([len(one.item.expected) for one in answered]),
        num_long, num_long / len(answered),
    )  # fmt: skip


def commonest_answers(wrong: Sequence[Marked], at_most: int = 5, least: int = 2) -> list[tuple[str, int]]:
    """Return the wrong answers that were given more than once, the commonest first."""
    counts = Counter(" ".join((one.given or "").split()) for one in wrong)
    return [(answer, num) for answer, num in counts.most_common(at_most) if num >= least and answer]


def _is_other_format(expected: str, given: str) -> bool:
    if _NUMBER.fullmatch(expected):
        return not _NUMBER.search(given)
    if expected[:1] in ("{", "["):
        return _is_json(expected) and not _is_json(given)
    return "\n" not in expected and len(given.splitlines()) > 3


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_near(expected: str, given: str) -> bool:
    if _NUMBER.fullmatch(expected):
        numbers = _NUMBER.findall(given)
        wanted, found = float(expected.replace(",", "")), float(numbers[-1].replace(",", ""))
        return found != wanted and abs(found - wanted) <= 0.1 * abs(wanted)
    a, b = (" ".join(text.casefold().split())[:_NEAR_CHARS] for text in (expected, given))
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return matcher.quick_ratio() >= _NEAR_RATIO and matcher.ratio() >= _NEAR_RATIO


def _median(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]
