"""Which languages a file's answers are in, by their words: py3langid, a naive Bayes model of 97 languages that comes with it.

Short answers and code decide nothing: a row counts only when it has some letters and the model is sure of it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from stoker.data.checks.sample import Sampled

MIN_ROWS = 20
_MIN_LETTERS, _MIN_CERTAINTY = 24, 0.95
_STRAY_LETTERS, _STRAY_CERTAINTY = 80, 0.9999
_SIGNS, _SIGN_SHARE = re.compile(r"[!-@\[-`{-~]"), 0.2
_COMMON_SHARE, _MAIN_SHARE = 0.05, 0.95


def language_findings(sample: Sequence[Sampled]) -> Iterator[tuple[str, Sampled | None, str]]:
    """Yield (code, row, what): the mix of languages, or the rows that stray from the only one."""
    decided = [(one, *_classify(one.beginning)) for one in sample if _is_prose(one.beginning)]
    sure = [one for one in decided if one[2] >= _MIN_CERTAINTY]
    if len(sure) < MIN_ROWS:
        return
    counts = Counter(language for _, language, _ in sure)
    common = [(language, number) for language, number in counts.most_common() if number >= _COMMON_SHARE * len(sure)]
    if len(common) > 1:
        yield "languages", None, ", ".join(f"{language} {number / len(sure):.0%}" for language, number in common)
    main, number = counts.most_common(1)[0]
    if number < _MAIN_SHARE * len(sure):
        return
    for row, language, certainty in sure:
        num_letters = sum(map(str.isalpha, row.beginning))
        if language != main and certainty >= _STRAY_CERTAINTY and num_letters >= _STRAY_LETTERS:
            yield "stray-language", row, f"{language}, where the others are {main}: {row.beginning}"


def _is_prose(text: str) -> bool:
    """Tell words from code, JSON and sums, in which the model sees languages that are not there."""
    num_signs = len(_SIGNS.findall(text))
    return sum(map(str.isalpha, text)) >= _MIN_LETTERS and num_signs <= _SIGN_SHARE * len(text)


def _classify(text: str) -> tuple[str, float]:
    language, certainty = _identifier().classify(text)
    return str(language), float(certainty)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)
