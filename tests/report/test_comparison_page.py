"""A comparison as a page and as Markdown: everything is in it, and nothing that a model said can break it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from answered import answered

from stoker.analysis.comparing import Measured, compare_models
from stoker.analysis.disagreements import disagreements
from stoker.analysis.recommending import recommend
from stoker.mailbox.benches import BenchItem
from stoker.report.comparison import ComparisonFacts, comparison_page
from stoker.report.comparison_markdown import comparison_markdown

WEAK = [1.0] * 10 + [0.0] * 20 + [1.0] * 5 + [0.0] * 25
STRONG = [1.0] * 10 + [1.0] * 20 + [0.0] * 5 + [0.0] * 25
HOSTILE = '<script>alert(1)</script> | ```\nx\n```` \x1b[31m\u202e # head\n[a](javascript:b) & "q"'


def facts(*measured: Measured, models: list[str] | None = None) -> ComparisonFacts:
    found: dict[str, dict[str, Measured]] = {}
    for one in measured:
        found.setdefault(one.result.benchmark, {})[one.result.model] = one
    names = models or list(dict.fromkeys(one.result.model for one in measured))
    compared = compare_models(names, found, 0.95, 500)
    return ComparisonFacts(compared, recommend(compared), tuple(disagreements(names, found, 2)), 0.95)


def hostile(measured: Measured) -> Measured:
    def change(item: BenchItem) -> BenchItem:
        return item.model_copy(update={"prompt": HOSTILE, "expected": HOSTILE, "answer": HOSTILE, "category": HOSTILE})

    return Measured(measured.result, [change(item) for item in measured.items])


@pytest.fixture
def shown() -> ComparisonFacts:
    nlls = [1.0 + place / 60 for place in range(60)]
    costs: dict[str, Any] = {"first_token_seconds": 0.02, "tokens_per_second": 90.0, "memory_bytes": 10**9}
    return facts(
        answered("base", WEAK, nlls=nlls, low=0.15, high=0.38, **costs),
        answered("main/v1", [None, *STRONG[1:]], nlls=[one - 0.2 for one in nlls], low=0.37, high=0.63),
        answered("base", nlls, benchmark="heldout", metric="nll"),
        answered("main/v1", [one - 0.1 for one in nlls], benchmark="heldout", metric="nll"),
        answered("base", WEAK, benchmark="words"),
    )


def test_the_page_holds_what_was_found(shown: ComparisonFacts) -> None:
    page = comparison_page(shown)
    for words in (
        "base and main/v1 compared", "Use main/v1: better than base", "sums", "heldout", "90", "20 ms", "1.0 GB",
        "only one of them has a result", "items that only one of both answered: 1", "Where they disagree", "question ",
    ):  # fmt: skip
        assert words in page, words
    assert page.count("<svg") >= 7
    assert "//" not in page and "<script" not in page
    assert "default-src 'none'" in page


def test_a_lower_nll_lies_on_the_better_side(shown: ComparisonFacts) -> None:
    (line,) = (line for line in shown.compared.lines if line.metric == "nll")
    assert line.difference < 0 and line.outcome == "better"
    row = comparison_page(shown).split("heldout</bdi><br><span")[1].split("</tr>")[0]
    places = [float(x) for x in re.findall(r'class="fill" x="([\d.]+)"', row)]
    assert len(places) == 2 and min(places) > 50


def test_scores_are_drawn_within_the_axis(shown: ComparisonFacts) -> None:
    page = comparison_page(shown)
    for x, width in re.findall(r'class="fill" x="([\d.]+)" y="42" width="([\d.]+)"', page):
        assert float(x) >= 0 and float(x) + float(width) <= 100.5


def test_the_markdown_holds_the_same(shown: ComparisonFacts) -> None:
    text = comparison_markdown(shown)
    for words in (
        "# base and main/v1 compared",
        "| sums | exact | 59 |",
        "| heldout | nll | 60 |",
        "90",
        "not compared",
        "better",
    ):
        assert words in text, words
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_what_a_model_says_breaks_neither() -> None:
    bad = facts(hostile(answered("a|b", WEAK)), hostile(answered("<i>c", STRONG)))
    page, text = comparison_page(bad), comparison_markdown(bad)
    assert "<script" not in page and "<i>" not in page and "\x1b" not in page + text and "\u202e" not in page + text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"(?<!\\)\|", rows[0])) for row in rows[:3])
    fences = [line for line in text.splitlines() if re.fullmatch(r"`{5}(text)?", line)]
    assert len(fences) == 2 * 2 * 4  # prompt, expected and two answers of two items, each opened and closed


def test_nothing_found_still_makes_a_page() -> None:
    page = comparison_page(facts(answered("a", WEAK), answered("b", STRONG, first=100)))
    assert "Nothing can be said" in page and "no item was answered by both" in page
