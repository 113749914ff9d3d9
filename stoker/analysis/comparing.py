"""Comparing models by what they answered: each pair on each benchmark, item by item, under one error rate (Holm).

Only items that both of a pair answered count, of results that were measured on the same items under the same settings;
what can't be compared is told with its reason. Pure: it reads no files and loads no models. See docs/comparing.md.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from stoker.analysis.comparison import Comparison, PairedScores, is_decidable
from stoker.analysis.scorers import NLL
from stoker.analysis.statistics import smallest_sample
from stoker.analysis.trial import compare_pairs
from stoker.mailbox.benches import BenchItem, BenchResult

Outcome = Literal["better", "worse", "no detectable difference"]
SAME: Final = "no detectable difference"
_OUTCOMES: dict[str, Outcome] = {"better": "better", "worse": "worse", "no-difference": SAME}
# What differs between models or machines by itself; the rest of the settings is what was asked for.
_NOT_ASKED_FOR = frozenset({"conditions", "precision", "device", "max_length"})


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's result on a benchmark, with its items."""

    result: BenchResult
    items: Sequence[BenchItem]


@dataclass(frozen=True, slots=True)
class NllGap:
    """NLL of the expected answers, on the items where both were measured; corrected over all that the pair is compared by."""

    n: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    p_corrected: float


@dataclass(frozen=True, slots=True)
class Line:
    """B against A on one benchmark. `difference` is B minus A; `low` and `high` its interval before correction.

    `outcome` says what B is, after correction. `only_a` and `only_b` count the items where that one scored more,
    `left_out` those that only one of both answered. `minimum_detectable` is the true difference found four times in five.
    """

    benchmark: str
    metric: str
    model_a: str
    model_b: str
    n: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    p_corrected: float
    minimum_detectable: float
    outcome: Outcome
    higher_is_better: bool
    only_a: int
    only_b: int
    left_out: int
    nll: NllGap | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Missing:
    """A pair that was not compared on a benchmark, and why."""

    benchmark: str
    model_a: str
    model_b: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model takes, as measured with its benchmarks: one warm stream, weights on disk and in memory."""

    model: str
    source: str
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    disk_bytes: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """A model's own score on a benchmark's deciding metric, over all items that it answered, with its interval."""

    benchmark: str
    metric: str
    model: str
    n: int
    score: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """Everything that was found, lines in the order of the pairs and benchmarks. `notes` is what to keep in mind."""

    models: tuple[ModelFacts, ...]
    scores: tuple[Score, ...]
    lines: tuple[Line, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...] = ()


Found = Mapping[str, Mapping[str, Measured]]
"""Benchmark to model to what was measured."""


def compare_models(models: Sequence[str], found: Found, confidence: float, resamples: int) -> Compared:
    """Compare every pair of models, the later one against the earlier, on every benchmark that any of them has."""
    missing: list[Missing] = []
    paired: list[tuple[str, str, list[_Common]]] = []
    for a, b in itertools.combinations(models, 2):
        commons = []
        for benchmark, measured in found.items():
            common = _common(benchmark, measured.get(a), measured.get(b), confidence)
            if isinstance(common, str):
                missing.append(Missing(benchmark, a, b, common))
            else:
                commons.append(common)
        paired.append((a, b, commons))
    tests = compare_pairs(
        [(b, a, [scores for common in commons for scores in common.scores]) for a, b, commons in paired],
        confidence,
        resamples,
    )
    known = {(each.against, each.candidate, each.benchmark, each.metric): each for each in tests}
    lines = [_line(a, b, common, known) for a, b, commons in paired for common in commons]
    facts = tuple(_facts(model, [one[model].result for one in found.values() if model in one]) for model in models)
    scores = tuple(
        Score(name, one.primary, model, one.n, one.scores[one.primary], one.low, one.high)
        for name, measured in found.items()
        for model in models
        if model in measured and (one := measured[model].result).primary in one.scores
    )
    return Compared(facts, scores, tuple(lines), tuple(missing), tuple(_notes(found)))


@dataclass(frozen=True, slots=True)
class _Common:
    """The items of a benchmark that both of a pair answered, as scores side by side; the deciding metric first."""

    benchmark: str
    metric: str
    scores: tuple[PairedScores, ...]
    left_out: int


def _common(benchmark: str, a: Measured | None, b: Measured | None, confidence: float) -> _Common | str:
    """Return the scores of both side by side, or why there are none."""
    if a is None or b is None:
        return "neither has a result" if a is b else "only one of them has a result"
    if unequal := _inequality(a.result, b.result):
        return unequal
    metric, left, right = a.result.primary, _values(a, a.result.primary), _values(b, b.result.primary)
    ids = [id for id in left if id in right]
    if not ids:
        return "no item was answered by both"
    is_mark = a.result.metrics.get(metric, False) and metric != NLL
    if not is_decidable(len(ids), is_mark, confidence):
        return f"only {len(ids)} items were answered by both; at least {smallest_sample(confidence)} are needed"
    if metric == NLL and not _is_tokenised_alike(a, b):
        return "their tokenizers cut the answers differently, so NLL per token can't be compared"
    scores = [_paired(benchmark, metric, left, right, ids, is_mark, is_primary=True)]
    if metric != NLL and _is_tokenised_alike(a, b):
        left_nll, right_nll = _values(a, NLL), _values(b, NLL)
        both = [id for id in left_nll if id in right_nll]
        if is_decidable(len(both), False, confidence):
            scores.append(_paired(benchmark, NLL, left_nll, right_nll, both, False, is_primary=False))
    return _Common(benchmark, metric, tuple(scores), len(left.keys() | right.keys()) - len(ids))


def _inequality(a: BenchResult, b: BenchResult) -> str | None:
    """Return in words what keeps two results from being compared, or None."""
    if a.benchmark_sha256 != b.benchmark_sha256:
        return "they were measured on different versions of its file"
    if (a.scorer, a.primary) != (b.scorer, b.primary):
        return f"they were scored differently: {a.scorer} ({a.primary}) and {b.scorer} ({b.primary})"
    for name in sorted((a.settings.keys() | b.settings.keys()) - _NOT_ASKED_FOR):
        if a.settings.get(name) != b.settings.get(name):
            return (
                f"they were measured under different settings: {name} {a.settings.get(name)} and {b.settings.get(name)}"
            )
    return None


def _values(measured: Measured, metric: str) -> dict[str, float]:
    values = {}
    for item in measured.items:
        value = item.nll if metric == NLL else item.scores.get(metric)
        if item.left_out is None and value is not None and math.isfinite(value):
            values[item.id] = value
    return values


def _is_tokenised_alike(a: Measured, b: Measured) -> bool:
    counts = {item.id: item.tokens for item in a.items if item.nll is not None}
    return all(counts.get(item.id, item.tokens) == item.tokens for item in b.items if item.nll is not None)


def _paired(
    benchmark: str, metric: str, left: Mapping[str, float], right: Mapping[str, float], ids: Sequence[str],
    is_mark: bool, *, is_primary: bool,
) -> PairedScores:  # fmt: skip
    return PairedScores(
        benchmark,
        metric,
        np.array([right[id] for id in ids], dtype=np.float64),
        np.array([left[id] for id in ids], dtype=np.float64),
        is_binary=is_mark,
        is_primary=is_primary,
        higher_is_better=metric != NLL,
    )


def _line(a: str, b: str, common: _Common, known: Mapping[tuple[str, str, str, str], Comparison]) -> Line:
    test, scores = known[a, b, common.benchmark, common.metric], common.scores[0]
    nll = known.get((a, b, common.benchmark, NLL))
    a_more, b_more = (
        int(np.sum(one)) for one in (scores.against > scores.candidate, scores.against < scores.candidate)
    )
    only_a, only_b = (a_more, b_more) if scores.higher_is_better else (b_more, a_more)
    return Line(
        benchmark=common.benchmark,
        metric=common.metric,
        model_a=a,
        model_b=b,
        n=test.n,
        a=test.against_score,
        b=test.candidate_score,
        difference=test.difference,
        low=test.low,
        high=test.high,
        p_value=test.p_value,
        p_corrected=test.p_value_corrected,
        minimum_detectable=test.minimum_detectable_effect,
        outcome=_OUTCOMES[test.outcome],
        higher_is_better=test.higher_is_better,
        only_a=only_a,
        only_b=only_b,
        left_out=common.left_out,
        nll=None if nll is None else _gap(nll),
    )


def _gap(test: Comparison) -> NllGap:
    return NllGap(
        test.n, test.against_score, test.candidate_score, test.difference, test.low, test.high, test.p_value,
        test.p_value_corrected,
    )  # fmt: skip


def _facts(model: str, results: Sequence[BenchResult]) -> ModelFacts:
    """Return a model's median speed over its benchmarks, and its largest sizes."""
    if not results:
        return ModelFacts(model, "unknown")
    first = [one.first_token_seconds for one in results if one.first_token_seconds is not None]
    rates = [one.tokens_per_second for one in results if one.tokens_per_second is not None]
    return ModelFacts(
        model,
        results[-1].source,
        statistics.median(first) if first else None,
        statistics.median(rates) if rates else None,
        max((one.disk_bytes for one in results if one.disk_bytes is not None), default=None),
        max((one.memory_bytes for one in results if one.memory_bytes is not None), default=None),
    )


def _notes(found: Found) -> list[str]:
    """Say where models were measured in different numerics: that alone may change an answer."""
    notes = []
    for name in ("precision", "device"):
        values: dict[str, set[str]] = {}
        for measured in found.values():
            for model, one in measured.items():
                if name in one.result.settings:
                    values.setdefault(str(one.result.settings[name]), set()).add(model)
        if len(values) > 1:
            parts = "; ".join(f"{value}: {', '.join(sorted(models))}" for value, models in sorted(values.items()))
            notes.append(f"The models were not measured in the same {name} ({parts}); that alone may change answers.")
    return notes
