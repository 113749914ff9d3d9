"""Which expected answer was taken for which: for classification (few distinct answers) and for choice (by place).

The benchmark's own scorer decides what is right; the matrix only says what a wrong answer was taken for. An answer that
is none of the labels is "(other)", an empty one "(none)".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stoker.analysis.understanding.marks import Marked

OTHER, NONE = "(other)", "(none)"
MOST_LABELS = 20
_LEAST_PER_LABEL = 3
_EDGES = " \t\r\n.,;:!?\"'`*()[]{}"
_CHOICES = "choices"


@dataclass(frozen=True, slots=True)
class Label:
    """One answer as a class: how often expected and given, and how well the two meet. None: 0 divided by 0."""

    name: str
    expected: int
    given: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """`counts[row][column]`: `rows[row]` was expected, `columns[column]` given. `kappa` is Cohen's."""

    kind: Literal["answers", "places"]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    labels: tuple[Label, ...]
    macro_f1: float
    kappa: float | None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "commonest": [list(one) for one in self.commonest()]}

    def commonest(self, at_most: int = 5) -> list[tuple[str, str, int]]:
        """Return the commonest confusions: expected, given, how often."""
        wrong = [
            (row, column, count)
            for row, counts in zip(self.rows, self.counts, strict=True)
            for column, count in zip(self.columns, counts, strict=True)
            if row != column and count
        ]
        return sorted(wrong, key=lambda one: (-one[2], one[0], one[1]))[:at_most]


def confusion(judged: Sequence[Marked]) -> Confusion | None:
    """Return the matrix; None when the expected answers are too many, or too few to make classes."""
    answers = Counter(_plain(one.item.expected) for one in judged)
    if 2 <= len(answers) <= MOST_LABELS and len(judged) >= _LEAST_PER_LABEL * len(answers):
        names = _written(judged)
        pairs = [(names[_plain(one.item.expected)], _answered(one, names)) for one in judged]
        return _matrix("answers", pairs, sorted(names.values()))
    places = [_place(one) for one in judged]
    known = [pair for pair in places if pair is not None]
    if not judged or len(known) < len(judged) or len({pair[0] for pair in known}) < 2:
        return None
    labels = sorted({label for pair in known for label in pair if label not in (OTHER, NONE)})
    return _matrix("places", known, labels) if len(labels) <= MOST_LABELS else None


def _matrix(kind: Literal["answers", "places"], pairs: Sequence[tuple[str, str]], labels: Sequence[str]) -> Confusion:
    counts = Counter(pairs)
    extra = [name for name in (OTHER, NONE) if any(given == name for _, given in pairs) and name not in labels]
    columns = (*labels, *extra)
    table = tuple(tuple(counts[row, column] for column in columns) for row in labels)
    details = tuple(_label(name, pairs) for name in labels)
    scores = [label.f1 or 0.0 for label in details if label.expected]
    return Confusion(kind, tuple(labels), columns, table, details, sum(scores) / len(scores), _kappa(pairs))


def _label(name: str, pairs: Sequence[tuple[str, str]]) -> Label:
    expected, given = sum(row == name for row, _ in pairs), sum(column == name for _, column in pairs)
    both = sum(row == column == name for row, column in pairs)
    recall, precision = both / expected if expected else None, both / given if given else None
    f1 = 2 * both / (expected + given) if expected + given else None
    return Label(name, expected, given, recall, precision, f1)


def _kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa (Educational and Psychological Measurement 20, 1960); None where chance alone is perfect."""
    n = len(pairs)
    rows, columns = Counter(row for row, _ in pairs), Counter(column for _, column in pairs)
    chance = sum(rows[name] * columns[name] for name in rows) / n**2
    agreed = sum(row == column for row, column in pairs) / n
    return (agreed - chance) / (1 - chance) if chance < 1 else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().strip(_EDGES).split())


def _written(judged: Sequence[Marked]) -> dict[str, str]:
    """Return each label as it is written most often."""
    spellings: dict[str, Counter[str]] = {}
    for one in judged:
        spellings.setdefault(_plain(one.item.expected), Counter())[" ".join(one.item.expected.split())] += 1
    return {plain: min(found, key=lambda text: (-found[text], text)) for plain, found in spellings.items()}


def _answered(one: Marked, names: Mapping[str, str]) -> str:
    if one.is_right:
        return names[_plain(one.item.expected)]
    given = _plain(one.given or "")
    if not given:
        return NONE
    if given in names:
        return names[given]
    named = [plain for plain in names if plain and re.search(rf"(?<!\w){re.escape(plain)}(?!\w)", given)]
    return names[named[0]] if len(named) == 1 else OTHER


def _place(one: Marked) -> tuple[str, str] | None:
    """Return the letters of the expected and of the chosen option; None for an item without such options."""
    choices = one.item.meta.get(_CHOICES)
    options = dict(choices) if isinstance(choices, dict) else _lettered(choices)
    by_text = {_plain(str(text)): str(letter) for letter, text in options.items()}
    letters = {_plain(str(letter)): str(letter) for letter in options}
    expected = by_text.get(_plain(one.item.expected)) or letters.get(_plain(one.item.expected))
    if expected is None:
        return None
    if one.is_right:
        return expected, expected
    given = _plain(one.given or "")
    return expected, NONE if not given else by_text.get(given) or letters.get(given) or OTHER


def _lettered(choices: Any) -> dict[str, Any]:
    if not isinstance(choices, list | tuple):
        return {}
    return {chr(ord("A") + place): text for place, text in enumerate(choices[:26])}
