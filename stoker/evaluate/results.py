"""From kept answers to what a person reads: scores per item and model, comparisons, the verdict.

Two models are compared on the items that both could be given; the rest is counted. It loads no model and computes
nothing on a device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from stoker.analysis.comparison import Comparison, PairedScores, compare_family, is_decidable
from stoker.analysis.forgetting import Forgetting
from stoker.analysis.scorers import NLL
from stoker.analysis.statistics import mean_interval, smallest_sample
from stoker.analysis.trial import compare_pairs, describe_trial
from stoker.analysis.verdict import Verdict, decide
from stoker.durable import write_atomic
from stoker.errors import PermanentError, UserError
from stoker.evaluate.answers import AnswerBook
from stoker.evaluate.forgetting import forgetting_of, objection_of, opponents, split_basics, with_guard
from stoker.evaluate.items import EvalItem, EvalSet
from stoker.spec.jobs import EvaluateJob, ModelRef
from stoker.spec.lab import EvaluateSpec

_EXCERPT_CHARS = 400


@dataclass(slots=True)
class SubjectResults:
    """One model's scores: `scores[set][item id][metric]`. An item the model could not be given is in `left_out`."""

    label: str
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)


def score_subject(
    label: str, sets: Sequence[EvalSet], book: AnswerBook, max_length: int, folder: Path
) -> SubjectResults:
    """Score what the book holds and write it item by item to `items-<label>.jsonl` in `folder`."""
    results = SubjectResults(label)
    lines: list[bytes] = []
    for each in sets:
        scores, left_out = results.scores.setdefault(each.name, {}), results.left_out.setdefault(each.name, {})
        try:
            for item in each.items:
                reason = book.unfit_reason(item.row.id, max_length)
                if reason is not None:
                    left_out[item.id] = reason
                else:
                    scores[item.id] = _score_item(each, item, book)
                lines.append(orjson.dumps(_item_line(each, item, book, scores.get(item.id), reason)))
        except (UserError, PermanentError) as error:
            # A judge that does not answer or a function of the user's that fails must not cost the verdict on all others.
            each.problem = str(error)
            scores.clear()
    write_atomic(folder / items_file(label), b"".join(line + b"\n" for line in lines))
    return results


def items_file(label: str) -> str:
    """Return the name of a model's item results: "main/v3" becomes items-main-v3.jsonl."""
    return f"items-{label.replace('/', '-')}.jsonl"


def conclude(
    job: EvaluateJob, sets: Sequence[EvalSet], subjects: Sequence[SubjectResults], basics_seconds: float = 0.0
) -> dict[str, Any]:
    """Return the result of the evaluation: comparisons, verdict, scores and what was left out."""
    if job.num_branches:
        return _conclude_trial(job, sets, subjects)
    candidate, *others = subjects
    own, basics = split_basics(job, sets)
    comparisons: list[Comparison] = []
    for other in others:
        # The basics share no error rate with what a lab judges by: asking them changes no other outcome.
        for family in (own, basics):
            pairs = _pairs(family, candidate, other)
            comparisons += compare_family(
                candidate.label, other.label, pairs, job.evaluate.confidence, job.evaluate.resamples
            )
    forgetting = forgetting_of(job, basics, {each.label: each.scores for each in subjects}, basics_seconds)
    verdict = _decide(job, sets, candidate, subjects, comparisons, forgetting)
    result = _result(job, sets, subjects, comparisons, verdict)
    return result if forgetting is None else {**result, "forgetting": forgetting.to_json()}


def _conclude_trial(job: EvaluateJob, sets: Sequence[EvalSet], subjects: Sequence[SubjectResults]) -> dict[str, Any]:
    """Compare every pair of branches on the items that all models could be given; nothing is promoted."""
    _keep_common(sets, subjects)
    branches = subjects[: job.num_branches]
    evaluate = job.evaluate
    pairs = [(a.label, b.label, _pairs(sets, a, b)) for a, b in itertools.combinations(branches, 2)]
    comparisons = compare_pairs(pairs, evaluate.confidence, evaluate.resamples)
    verdict = Verdict("no-difference", False, describe_trial(comparisons, evaluate.target))
    intervals = [one for subject in subjects for one in _intervals(job, sets, subject)]
    return {**_result(job, sets, subjects, comparisons, verdict), "intervals": intervals}


def _keep_common(sets: Sequence[EvalSet], subjects: Sequence[SubjectResults]) -> None:
    """Leave out the items that one of the models could not be given, so that every score is of the same items."""
    for each in sets:
        common = set.intersection(*(set(subject.scores[each.name]) for subject in subjects))
        for subject in subjects:
            subject.scores[each.name] = {id: one for id, one in subject.scores[each.name].items() if id in common}


def _intervals(job: EvaluateJob, sets: Sequence[EvalSet], subject: SubjectResults) -> list[dict[str, Any]]:
    """Return a model's mean on each set's deciding metric, with its interval."""
    found = []
    for each in sets:
        values = [row[each.primary] for row in subject.scores[each.name].values() if each.primary in row]
        if not values:
            continue
        scores = np.array(values, dtype=np.float64)
        is_mark = each.scorer.metrics.get(each.primary, False)
        low, high = mean_interval(scores, job.evaluate.confidence, job.evaluate.resamples, is_binary=is_mark)
        found.append(
            {
                "model": subject.label, "benchmark": each.name, "metric": each.primary, "n": len(values),
                "score": float(scores.mean()), "low": low, "high": high,
            }
        )  # fmt: skip
    return found


def _result(
    job: EvaluateJob,
    sets: Sequence[EvalSet],
    subjects: Sequence[SubjectResults],
    comparisons: Sequence[Comparison],
    verdict: Verdict,
) -> dict[str, Any]:
    return {
        "evaluation": job.evaluation,
        "run": job.run,
        "candidate": subjects[0].label,
        "comparisons": [each.to_json() for each in comparisons],
        "verdict": verdict.to_json(),
        "scores": {subject.label: _means(sets, subject) for subject in subjects},
        "sets": [_set_summary(each, subjects) for each in sets],
    }


def _score_item(each: EvalSet, item: EvalItem, book: AnswerBook) -> dict[str, float]:
    likelihood = book.likelihood(item.row.id)
    assert likelihood is not None, "every item that fits was measured"
    scores = {NLL: likelihood.nll}
    answer = book.answer(item.row.id, item.max_new_tokens) if item.is_answered else None
    return scores if answer is None else {**scores, **each.scorer.score(item.meta, item.expected, answer.text)}


def _item_line(
    each: EvalSet, item: EvalItem, book: AnswerBook, scores: Mapping[str, float] | None, reason: str | None
) -> dict[str, Any]:
    likelihood = book.likelihood(item.row.id)
    answer = book.answer(item.row.id, item.max_new_tokens) if item.is_answered else None
    messages = item.row.prompt_messages()
    prompt = str(messages[-1].get("content") or "") if messages else ""
    return {
        "id": item.id,
        "benchmark": each.name,
        "category": item.category,
        "prompt": prompt[:_EXCERPT_CHARS],
        "expected": item.expected,
        "answer": answer.text if answer else None,
        "finished": answer.is_finished if answer else None,
        "scores": {metric: value for metric, value in (scores or {}).items() if metric != NLL},
        "nll": likelihood.nll if likelihood and reason is None else None,
        "tokens": likelihood.num_tokens if likelihood else None,
        "left_out": reason,
    }


def _pairs(sets: Sequence[EvalSet], candidate: SubjectResults, other: SubjectResults) -> list[PairedScores]:
    """Lay two models' scores of each set and metric side by side; metrics without common items are left out."""
    pairs = []
    for each in sets:
        ours, theirs = candidate.scores[each.name], other.scores[each.name]
        for metric, is_mark in {**each.scorer.metrics, NLL: False}.items():
            ids = [i for i in ours if metric in ours[i] and i in theirs and metric in theirs[i]]
            if ids:
                pairs.append(
                    PairedScores(
                        each.name,
                        metric,
                        np.array([ours[i][metric] for i in ids], dtype=np.float64),
                        np.array([theirs[i][metric] for i in ids], dtype=np.float64),
                        is_binary=is_mark,
                        is_primary=metric == each.primary,
                        higher_is_better=metric != NLL,
                    )
                )
    return sorted(pairs, key=lambda pair: not pair.is_primary)


def _decide(
    job: EvaluateJob,
    sets: Sequence[EvalSet],
    candidate: SubjectResults,
    subjects: Sequence[SubjectResults],
    comparisons: Sequence[Comparison],
    forgetting: Forgetting | None,
) -> Verdict:
    if not job.against:
        return Verdict("no-difference", False, f"Measured {candidate.label}; there was nothing to compare it with.")
    parent, base = opponents(job)
    evaluate = with_guard(job.evaluate)
    unmeasured = {each.name: _why_unmeasured(each, job.evaluate.confidence, subjects) for each in sets}
    missing = {**_unknown(evaluate), **unmeasured}
    verdict = decide(comparisons, evaluate, parent, base, missing, objection_of(job.evaluate, forgetting))
    if forgetting is None or not forgetting.is_forgotten:
        return verdict
    return replace(verdict, reason=f"{verdict.reason} {forgetting.sentence()}")


def _unknown(evaluate: EvaluateSpec) -> dict[str, str]:
    names = {evaluate.target, *evaluate.guards}
    return {name: "no sealed rows" if name == "heldout" else "no such benchmark in this lab" for name in names}


def _why_unmeasured(each: EvalSet, confidence: float, subjects: Sequence[SubjectResults]) -> str:
    if each.problem:
        return each.problem
    if not each.items:
        left_out = ", ".join(f"{count} {reason}" for reason, count in each.left_out.items())
        return f"no items ({left_out})" if left_out else "no items" if each.name != "heldout" else "no sealed rows"
    num = min(len(subject.scores[each.name]) for subject in subjects)
    if not is_decidable(num, each.scorer.metrics.get(each.primary, False), confidence):
        return f"only {num} items, at least {smallest_sample(confidence)} are needed"
    return "no items in common"


def _means(sets: Sequence[EvalSet], subject: SubjectResults) -> dict[str, dict[str, float]]:
    """Return each set's mean scores, with n items and perplexity, e to the mean NLL."""
    means: dict[str, dict[str, float]] = {}
    for each in sets:
        rows = list(subject.scores[each.name].values())
        if not rows:
            continue
        found: dict[str, float] = {"n": len(rows)}
        for metric in (*each.scorer.metrics, NLL):
            values = [row[metric] for row in rows if metric in row]
            if values:
                found[metric] = float(np.mean(values))
        found["perplexity"] = math.exp(min(found[NLL], 700.0))
        means[each.name] = found
    return means


def _set_summary(each: EvalSet, subjects: Sequence[SubjectResults]) -> dict[str, Any]:
    left_out = dict(each.left_out)
    unfit: dict[str, str] = {}
    for subject in subjects:
        unfit.update(subject.left_out[each.name])
    for reason in unfit.values():
        left_out[reason] = left_out.get(reason, 0) + 1
    return {
        "name": each.name,
        "scorer": each.scorer.name,
        "metric": each.primary,
        "items": len(each.items) - len(unfit),
        "left_out": left_out,
        "problem": each.problem,
        "sha256": each.sha256,
    }


def labels(job: EvaluateJob) -> list[ModelRef]:
    """Return the models to measure, the candidate first, each once."""
    seen: dict[str, ModelRef] = {}
    for ref in (job.candidate, *job.against):
        seen.setdefault(ref.label, ref)
    return list(seen.values())
