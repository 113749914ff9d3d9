"""Scorers by name, each with the options a benchmark's header may give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.analysis.scorers.base import NLL, Meta, Scorer
from stoker.analysis.scorers.choice import CHOICE
from stoker.analysis.scorers.numbers import number_scorer
from stoker.analysis.scorers.overlap import BLEU_SCORER, CHRF_SCORER, ROUGE_SCORER
from stoker.analysis.scorers.patterns import regex_scorer
from stoker.analysis.scorers.structured import JSON
from stoker.analysis.scorers.texts import CONTAINS, EXACT, F1, NORMALISED
from stoker.errors import DataError
from stoker.tasks.basics.score import is_right
from stoker.tasks.syllo.score import score_answer

__all__ = ["NLL", "Scorer", "find_scorer", "is_scorable", "matches"]

_REMEDY = "mend the benchmark's .toml file"


def find_scorer(name: str, options: Mapping[str, Any] | None = None) -> Scorer:
    """Return the scorer of that name with its options; DataError names those there are."""
    if name not in _SCORERS:
        known = ", ".join(sorted(_SCORERS))
        raise DataError(f"scorer {name!r} is not known", f"scorers are: {known}", _REMEDY)
    entry = _SCORERS[name]
    for key, value in (options or {}).items():
        if key not in entry.options:
            known = ", ".join(entry.options) or "it has none"
            raise DataError(f"scorer {name!r} has no option {key!r}", f"its options: {known}", _REMEDY)
        if isinstance(value, bool) or not isinstance(value, entry.options[key]):
            raise DataError(f"scorer {name!r}: {key} = {value!r}", f"{key} is a {_kind(entry.options[key])}", _REMEDY)
        if isinstance(value, int | float) and value < 0:
            raise DataError(f"scorer {name!r}: {key} = {value!r}", f"{key} is not negative", _REMEDY)
    return entry.make(**(options or {}))


def is_scorable(scorer: Scorer, meta: Meta, expected: str) -> bool:
    """Tell whether any answer could be right: the expected one itself must get the full primary score."""
    if not scorer.is_proven:
        return True
    try:
        return scorer.score(meta, expected, expected).get(scorer.primary, 1.0) > 1 - 1e-9
    except DataError:
        return False


def matches(expected: str, answer: str) -> bool:
    """Tell whether an answer is right where no benchmark names a scorer: the same text, normalised.

    An expected answer that marks its result by "####" (GSM8K) asks for the same number.
    """
    name = "number" if "####" in expected else "normalised"
    scorer = find_scorer(name)
    return scorer.score({}, expected, answer)[scorer.primary] == 1.0


@dataclass(frozen=True, slots=True)
class _Entry:
    make: Callable[..., Scorer]
    options: Mapping[str, Any]


def _syllo(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    scores = score_answer(meta, answer)
    return {metric: float(scores[metric]) for metric in ("puzzle", "tiles", "words", "format")}


def _basics(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {"basics": float(is_right(meta, expected, answer))}


def _nothing(meta: Meta, expected: str, answer: str) -> dict[str, float]:
    return {}


def _plain(scorer: Scorer) -> _Entry:
    return _Entry(lambda: scorer, {})


def _kind(types: Any) -> str:
    return "text" if types is str else "number"


_SCORERS = {
    "exact": _plain(EXACT),
    "normalised": _plain(NORMALISED),
    "contains": _plain(CONTAINS),
    "f1": _plain(F1),
    "number": _Entry(number_scorer, {"tolerance": (int, float), "margin": (int, float)}),
    "choice": _plain(CHOICE),
    "regex": _Entry(regex_scorer, {"pattern": str}),
    "json": _plain(JSON),
    "bleu": _plain(BLEU_SCORER),
    "chrf": _plain(CHRF_SCORER),
    "rouge": _plain(ROUGE_SCORER),
    "syllo": _plain(Scorer("syllo", {"puzzle": True, "tiles": False, "words": False, "format": False}, _syllo)),
    "basics": _plain(Scorer("basics", {"basics": True}, _basics)),
    NLL: _plain(Scorer(NLL, {}, _nothing)),
}
