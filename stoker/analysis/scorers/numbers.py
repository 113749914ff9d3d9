"""The number an answer ends on, and whether it is the expected one within a tolerance."""

from __future__ import annotations

import math
import re
import unicodedata

from stoker.analysis.scorers.base import Meta, Scorer, accepted

DEFAULT_TOLERANCE = 1e-6


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


def number_scorer(tolerance: float = DEFAULT_TOLERANCE, margin: float = 0.0) -> Scorer:
    """Return the scorer that takes a number as right within `tolerance` of the larger or within `margin` absolutely."""

    def score(meta: Meta, expected: str, answer: str) -> dict[str, float]:
        given = last_number(answer)
        wanted = [last_number(each) for each in accepted(meta, expected)]
        is_right = given is not None and any(
            each is not None and math.isclose(each, given, rel_tol=tolerance, abs_tol=margin) for each in wanted
        )
        return {"number": float(is_right)}

    return Scorer("number", {"number": True}, score)


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
