"""The page about what models get wrong: what `templates/explained.html` shows, from explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stoker.analysis.understanding.confidence import Reliability
from stoker.analysis.understanding.confusion import Confusion
from stoker.analysis.understanding.explanation import Explanation
from stoker.report.charts import Bar, lying_bars
from stoker.report.page import render_page
from stoker.units import score, signed

_OUTCOMES = {"worse": ("weaker than the rest", "warn"), "better": ("stronger than the rest", "good")}
_GRADES = {"calibrated": "good"}
_EXCERPT_CHARS = 600


@dataclass(frozen=True)
class Range:
    """A score with its interval, places across a scale of 0 to 100."""

    name: str
    n: int
    mark: float
    low: float
    high: float
    text: str
    interval: str
    against_rest: str
    outcome: str
    grade: str


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix; `shade` is its share of the row, `is_right` on the diagonal."""

    count: int
    shade: float
    is_right: bool


@dataclass(frozen=True)
class Example:
    """A failure as it is shown, cut where it is very long."""

    prompt: str
    expected: str
    answer: str


@dataclass(frozen=True)
class Failures:
    """Failures of one kind or one group, beside an example."""

    bar: Bar
    words: str
    example: Example


@dataclass(frozen=True)
class Section:
    """One benchmark of the page."""

    about: Explanation
    headline: str
    ranges: tuple[Range, ...]
    matrix: tuple[tuple[str, tuple[Cell, ...]], ...]
    columns: tuple[str, ...]
    kinds: tuple[Failures, ...]
    groups: tuple[Failures, ...]
    sure: Reliability | None
    sure_grade: str


def explanation_page(found: Sequence[Explanation], confidence: float) -> str:
    """Return the HTML of the page; the explanations are of one model."""
    sections = [_section(about) for about in found]
    return render_page("explained.html", model=found[0].model, sections=sections, confidence=f"{100 * confidence:g} %")


def _section(about: Explanation) -> Section:
    metric = about.marked.primary
    interval = _interval(about.low, about.high, metric)
    headline = f"{score(about.score, metric)} {metric}, {len(about.marked.valued):,} items{f' ({interval})' if interval else ''}"
    kinds = lying_bars([(name, len(members)) for name, members in about.kinds], len(about.marked.wrong))
    groups = lying_bars(
        [(f"group {n}", one.size) for n, one in enumerate(about.grouping.groups, 1)], len(about.marked.wrong)
    )
    return Section(
        about, headline, _ranges(about), _matrix(about.confusion), about.confusion.columns if about.confusion else (),
        tuple(
            Failures(bar, "", _example(members[0].item.prompt, members[0].item.expected, members[0].given))
            for bar, (_, members) in zip(kinds, about.kinds, strict=True)
        ),
        tuple(
            Failures(bar, ", ".join(one.words), _example(one.example.item.prompt, one.example.item.expected, one.example.given))
            for bar, one in zip(groups, about.grouping.groups, strict=True)
        ),
        about.reliability, _GRADES.get(about.reliability.outcome, "warn") if about.reliability else "",
    )  # fmt: skip


def _ranges(about: Explanation) -> tuple[Range, ...]:
    """Lay the categories on one scale: 0 to 1 for shares, 0 to the largest end for what has none."""
    metric = about.marked.primary
    ends = [end for one in about.categories for end in (one.score, one.high) if end is not None]
    top = max([1.0, *ends]) if not about.marked.is_lower_better else max(ends, default=1.0) or 1.0
    found = []
    for one in about.categories:
        low, high = (one.score if end is None else end for end in (one.low, one.high))
        mark, left, right = (round(100 * max(0.0, value) / top, 2) for value in (one.score, low, high))
        words, grade = _OUTCOMES.get(one.outcome, ("as the rest", "faint"))
        found.append(
            Range(
                one.name, one.n, mark, left, right, score(one.score, metric), _interval(one.low, one.high, metric),
                signed(one.difference, metric), words, grade,
            )
        )  # fmt: skip
    return tuple(found)


def _matrix(matrix: Confusion | None) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    if matrix is None:
        return ()
    rows = []
    for name, counts in zip(matrix.rows, matrix.counts, strict=True):
        total = sum(counts) or 1
        cells = (
            Cell(num, round(num / total, 3), name == given) for given, num in zip(matrix.columns, counts, strict=True)
        )
        rows.append((name, tuple(cells)))
    return tuple(rows)


def _example(prompt: str, expected: str, given: str | None) -> Example:
    return Example(*(_cut(text) for text in (prompt, expected, given if given else "(nothing)")))


def _cut(text: str) -> str:
    return text if len(text) <= _EXCERPT_CHARS else f"{text[:_EXCERPT_CHARS]}\u2026"


def _interval(low: float | None, high: float | None, metric: str) -> str:
    return "" if low is None or high is None else f"{score(low, metric)} to {score(high, metric)}"
