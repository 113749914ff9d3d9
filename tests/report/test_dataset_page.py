"""The page about a dataset: every number is on it, nothing in a file can act, nothing is loaded from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from page_reader import Page

from stoker.data.checks.rules import RULES
from stoker.data.rows import Content, Row
from stoker.report.charts import histogram, lying_bars, stacked_bar
from stoker.report.dataset import SHOWN_CHARACTERS, DatasetFacts, dataset_page

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% include 'page.css' %}", "' onmouseover='alert(1)", "<link rel=stylesheet href=http://x/y>",
    "<a href='javascript:alert(1)'>x</a>", "<base href=http://x/>", "&lt;script&gt;", "<!--", "\x00\x1b[31m\u202egnp",
)  # fmt: skip
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "article", "h1", "h2", "h3",
    "p", "span", "div", "dl", "dt", "dd", "ul", "li", "bdi", "table", "thead", "tbody", "tr", "th", "td", "svg", "rect",
    "figure", "figcaption", "details", "summary",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "viewbox", "preserveaspectratio", "role", "aria-label",
    "aria-hidden", "scope", "x", "y", "width", "height", "open",
}  # fmt: skip


def facts(word: str = "orders", **changes: Any) -> DatasetFacts:
    finding = {"code": "refusals", "severity": "warn", "file": word, "line": 12, "excerpt": word, "remedy": word}
    deduction = {"code": "refusals", "points": 12.5, "rows": 25, "share": 0.125, "title": word}
    summary = {
        "rows_in": 200, "train": 150, "held_out": 30, "duplicate": 15, "quarantined": 5, "score": 81, "gate": "warn",
        "reasons": {"duplicate-in-file": 15, "empty-answer": 5}, "deductions": [deduction], "findings": [finding],
        "finding_counts": {"refusals": 25}, "notes": [word],
        "tokens": {
            "tokenizer": word, "max_length": 512, "total": 9000, "quantiles": {"p50": 40, "p90": 60, "p99": 99, "max": 700},
            "histogram": [[1, 9, 20], [10, 99, 150], [100, 999, 10]], "lost": [[256, 10], [512, 7], [1024, 0]],
        },
    }  # fmt: skip
    measured = {
        "quantiles": {"min": 1, "p50": 2, "p90": 3, "p99": 3, "max": 3}, "histogram": [[1, 1, 4], [2, 2, 170], [3, 3, 6]]
    }  # fmt: skip
    largest = {"cluster": 3, "rows": 4, "share": 0.02, "line": 77, "excerpt": word}
    statistics = {
        "rows": 180, "rows_read": 180, "kinds": {"chat": 180}, "turns": measured, "prompt_characters": measured,
        "answer_characters": measured, "labels": [[word, 120], ["other", 60]],
        "clusters": {
            "clusters": 177, "sealed": 16, "near_duplicates": 3, "sizes": [[1, 1, 176], [2, 2, 0], [3, 4, 1]],
            "largest": [largest],
        },
    }  # fmt: skip
    turns = ({"role": "user", "content": word}, {"role": "assistant", "content": f"Seven {word}"})
    rows = [
        (Row.of(1, Content(turns)), "train"),
        (Row.of(9, Content(turns[:1], chosen=turns[1:], rejected=turns[1:])), "held_out"),
        (Row.of(11, Content(text=word)), "train"),
    ]
    given = {
        "name": word, "facts": [("file", word)], "summary": summary, "statistics": statistics, "samples": rows, **changes
    }  # fmt: skip
    return DatasetFacts(**given)


@pytest.mark.parametrize("word", HOSTILE)
def test_nothing_in_a_file_can_act(word: str) -> None:
    text = dataset_page(facts(word))
    page = Page(text)
    assert page.tags <= TAGS and page.attributes <= ATTRIBUTES
    assert (
        "url(" not in text and "@import" not in text and "49" not in page.text.split("Examples")[1].split("Stoker")[0]
    )
    assert not {"\x00", "\x1b", "\u202e"} & set(text)


def test_the_page_forbids_scripts_and_connections() -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'" in dataset_page(facts())


def test_every_number_is_on_the_page() -> None:
    text = Page(dataset_page(facts())).text
    for number in (
        "81",
        "200 in",
        "150",
        "75.0 %",
        "duplicate-in-file",
        "−12.5",
        "refusals",
        "12",
        "1–9",
        "10–99",
        "1,024",
    ):
        assert number in text, number
    for words in (RULES["refusals"].title, "Remedy: orders", "median 40", "the first 1 of 25", "77", "3–4", "held out"):
        assert words in text, words
    assert text.count("Seven orders") == 3, "a conversation once, a pair with both of its answers"


def test_each_chart_has_its_table_and_a_name() -> None:
    text = dataset_page(facts())
    assert text.count("<figure>") == text.count("</figure>") == 5
    assert text.count('role="img" aria-label=') == 6
    assert text.count("<table>") == 5 + 1


def test_what_is_the_same_in_every_row_is_a_sentence_and_no_chart() -> None:
    same = {"quantiles": {"min": 2, "p50": 2, "p90": 2, "p99": 2, "max": 2}, "histogram": [[2, 2, 180]]}
    statistics = {**(facts().statistics or {}), "turns": same}
    text = dataset_page(facts(statistics=statistics))
    assert "Turns of a row: 2 in every row" in Page(text).text and text.count("<figure>") == 4


def test_a_refused_file_shows_why_and_nothing_else() -> None:
    summary = {"rows_in": 0, "train": 0, "held_out": 0, "duplicate": 0, "quarantined": 0, "score": 0, "gate": "stop"}
    text = dataset_page(
        facts(summary=summary, statistics=None, samples=[], refusal="half.jsonl is half a file\n<b>copy it again</b>")
    )
    assert "half.jsonl is half a file\n<b>copy it again</b>" in Page(text).text
    assert "<svg" not in text and "of 100" not in text


def test_both_schemes_are_drawn_from_the_same_tokens() -> None:
    style = dataset_page(facts()).split("<style>")[1].split("</style>")[0]
    light, dark = (style.split(":root {")[place].split("}")[0] for place in (1, 2))
    names = [{part.split(":")[0].strip() for part in block.split(";") if "--" in part} for block in (light, dark)]
    assert "prefers-color-scheme: dark" in style and names[0] == names[1]
    assert "#" not in style.split(":root {")[2].split("}", 2)[2], "every colour is a token"


def test_a_long_text_is_shortened_and_says_by_how_much() -> None:
    row = Row.of(1, Content(text="x" * (SHOWN_CHARACTERS + 234)))
    assert "234 more characters" in Page(dataset_page(facts(samples=[(row, "train")]))).text


def test_bars_are_as_long_as_their_numbers() -> None:
    chart = histogram("lengths", [[1, 1, 0], [2, 2, 50], [3, 4, 0], [5, 8, 100], [9, 9, 0]], "rows")
    assert chart is not None
    assert [(bar.name, bar.height) for bar in chart.bars] == [("2", 50.0), ("3–4", 0.0), ("5–8", 100.0)]
    assert all(bar.y + bar.height == 100 for bar in chart.bars) and chart.bars[-1].x + chart.bars[-1].width <= 100
    assert histogram("lengths", [[1, 1, 0]], "rows") is None and histogram("turns", [[2, 2, 90]], "rows") is None
    assert [bar.width for bar in lying_bars([("a", 50), ("b", 0)], 200)] == [25.0, 0.0]
    assert [(bar.x, bar.width) for bar in stacked_bar([("a", 3), ("b", 0), ("c", 1)])] == [(0, 75), (75, 0), (75, 25)]
