"""The page about a comparison of models: what `templates/comparison.html` shows, from the analysis alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stoker.analysis.comparing import Compared, Line, ModelFacts, Score
from stoker.analysis.disagreements import Disagreement
from stoker.analysis.recommending import Recommendation
from stoker.analysis.scorers import NLL
from stoker.report.charts import Bar, Span, lying_bars, spans
from stoker.report.page import render_page
from stoker.units import count, interval, score, signed, size

_MOODS = {
    "better": "good",
    "no detectable difference": "faint",
    "trade-off": "warn",
    "nothing to compare": "warn",
}


@dataclass(frozen=True)
class ComparisonFacts:
    """A comparison as it is shown: what was found, what follows, and the items that the models disagree on."""

    compared: Compared
    recommendation: Recommendation
    disagreements: tuple[Disagreement, ...]
    confidence: float

    @property
    def title(self) -> str:
        names = [one.model for one in self.compared.models]
        return f"{', '.join(names[:-1])} and {names[-1]} compared"


@dataclass(frozen=True)
class Cost:
    """One measure of cost: each model's figure in words and as a bar; models without one are left out."""

    title: str
    rows: tuple[tuple[str, Bar], ...]


@dataclass(frozen=True)
class Scale:
    """The scores of one benchmark on one axis from zero: each model's cells and its interval's place, 0 to 100."""

    benchmark: str
    metric: str
    end: str
    rows: tuple[tuple[tuple[str, ...], Span], ...]


def comparison_page(facts: ComparisonFacts) -> str:
    """Return the HTML of the page."""
    compared = facts.compared
    return render_page(
        "comparison.html",
        title=facts.title,
        mood=_MOODS[facts.recommendation.outcome],
        reason=facts.recommendation.reason,
        pairs=[(pair, _rows(lines)) for pair, lines in pairs(compared)],
        nlls=[(pair, rows) for pair, lines in pairs(compared) if (rows := nll_rows(lines))],
        scales=[_scale(scores) for scores in _by_benchmark(compared.scores)],
        costs=[cost for cost in (_cost(compared.models, *kind) for kind in _COSTS) if cost.rows],
        items=[(one, [(given, score(given.score, one.metric)) for given in one.given]) for one in facts.disagreements],
        missing=compared.missing,
        notes=compared.notes,
        left_out=[line for line in compared.lines if line.left_out],
        confidence=f"{100 * facts.confidence:g} %",
    )


def pairs(compared: Compared) -> list[tuple[tuple[str, str], list[Line]]]:
    """Return the lines by pair, (A, B)."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in compared.lines:
        found.setdefault((line.model_a, line.model_b), []).append(line)
    return list(found.items())


def cells(line: Line) -> tuple[str, ...]:
    """Return a line as the words of a table: see HEADERS."""
    return (
        line.benchmark, line.metric, count(line.n), score(line.a, line.metric), score(line.b, line.metric),
        signed(line.difference, line.metric), interval(line.low, line.high, line.metric),
        signed(line.minimum_detectable, line.metric).lstrip("+"), p_value(line.p_corrected), str(line.only_a),
        str(line.only_b), line.outcome,
    )  # fmt: skip


def headers(a: str, b: str) -> tuple[str, ...]:
    """Return what the words of `cells` are."""
    return (
        "benchmark", "metric", "n", a, b, "change", "interval", "detectable", "p", f"only {a}", f"only {b}", f"{b} is",
    )  # fmt: skip


NUM_WORDS = 2  # the leading cells of a line that are no numbers


def nll_rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """Return the NLL of each line that it does not decide as words: benchmark, n, A, B, change, interval, p."""
    return [
        (
            line.benchmark, count(line.nll.n), score(line.nll.a, NLL), score(line.nll.b, NLL),
            signed(line.nll.difference, NLL), interval(line.nll.low, line.nll.high, NLL), p_value(line.nll.p_corrected),
        )
        for line in lines
        if line.nll is not None and line.metric != NLL
    ]  # fmt: skip


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _rows(lines: Sequence[Line]) -> list[tuple[tuple[str, ...], str, Span | None]]:
    """Return each line's cells, its colour and its interval; better is to the right, NLL has a scale of its own."""
    drawn: dict[int, Span | None] = {}
    for is_nll in (False, True):
        places = [place for place, line in enumerate(lines) if (line.metric == NLL) is is_nll]
        for place, found in zip(places, spans([_ends(lines[place]) for place in places]), strict=True):
            drawn[place] = found
    moods = {"better": "good", "worse": "bad"}
    return [(cells(line), moods.get(line.outcome, "faint"), drawn[place]) for place, line in enumerate(lines)]


def _ends(line: Line) -> tuple[float, float, float]:
    if line.higher_is_better:
        return line.low, line.high, line.difference
    return -line.high, -line.low, -line.difference


def _by_benchmark(scores: Sequence[Score]) -> list[list[Score]]:
    found: dict[str, list[Score]] = {}
    for one in scores:
        found.setdefault(one.benchmark, []).append(one)
    return list(found.values())


def _scale(scores: Sequence[Score]) -> Scale:
    metric = scores[0].metric
    end = max((one.high or one.score) for one in scores) or 1.0 if metric == NLL else 1.0
    rows = []
    for one in scores:
        low, high = (one.score if value is None else value for value in (one.low, one.high))
        place = Span(*(round(min(100.0, max(0.0, 100 * value / end)), 2) for value in (low, high, one.score)))
        words = "-" if one.low is None else f"{score(low, metric)} to {score(high, metric)}"
        rows.append(((one.model, count(one.n), score(one.score, metric), words), place))
    return Scale(scores[0].benchmark, metric, score(end, metric), tuple(rows))


_COSTS: tuple[tuple[str, Callable[[ModelFacts], float | None], Callable[[float], str]], ...] = (
    ("First token", lambda one: one.first_token_seconds, lambda value: f"{1000 * value:,.0f} ms"),
    ("Tokens per second, one warm stream", lambda one: one.tokens_per_second, lambda value: f"{value:,.0f}"),
    ("Size on disk", lambda one: one.disk_bytes, size),
    ("Size in memory", lambda one: one.memory_bytes, size),
)


def _cost(
    models: Sequence[ModelFacts],
    title: str,
    figure: Callable[[ModelFacts], float | None],
    words: Callable[[float], str],
) -> Cost:
    known = [(one.model, value) for one in models if (value := figure(one)) is not None]
    bars = lying_bars(known, max((value for _, value in known), default=0.0))
    return Cost(title, tuple((words(value), bar) for (_, value), bar in zip(known, bars, strict=True)))


def cost_rows(models: Sequence[ModelFacts]) -> list[tuple[str, ...]]:
    """Return each model's costs as words: name, first token, tokens per second, on disk, in memory."""
    return [
        (
            one.model,
            *("-" if (value := figure(one)) is None else words(value) for _, figure, words in _COSTS),
        )
        for one in models
    ]
