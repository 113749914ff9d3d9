"""The basics in an evaluation: asked beside what a lab judges by, and what becomes of a loss there.

They decide nothing unless `evaluate.forgetting` is "guard", or the lab itself names them as its target or a guard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoker.analysis.forgetting import Forgetting, find_forgetting
from stoker.evaluate.items import EvalSet
from stoker.spec.jobs import EvaluateJob
from stoker.spec.lab import EvaluateSpec
from stoker.tasks.basics.install import NAME as BASICS

__all__ = ["forgetting_of", "objection_of", "opponents", "split_basics", "with_guard"]

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]


def split_basics(job: EvaluateJob, sets: Sequence[EvalSet]) -> tuple[list[EvalSet], list[EvalSet]]:
    """Return the sets that decide, and the one that shows forgetting, where it is asked."""
    if job.evaluate.forgetting == "off" or job.num_branches:
        return list(sets), []
    return [each for each in sets if each.name != BASICS], [each for each in sets if each.name == BASICS]


def opponents(job: EvaluateJob) -> tuple[str | None, str]:
    """Return the labels of the parent (None where there is none) and of the base."""
    parent = next((ref.label for ref in job.against if ref.folder is not None), None)
    return parent, next((ref.label for ref in job.against if ref.folder is None), job.against[-1].label)


def forgetting_of(
    job: EvaluateJob, basics: Sequence[EvalSet], scores: Mapping[str, Scores], seconds: float
) -> Forgetting | None:
    """Compare the candidate with its parent, or the base, on the basics; `scores[label][set][item id][metric]`."""
    if not basics or not job.against:
        return None
    (found,), (parent, base) = basics, opponents(job)
    candidate, against = job.candidate.label, parent or base
    before, after = scores[against][found.name], scores[candidate][found.name]
    metric = found.primary
    marks = [
        (item.category or "other", before[item.id][metric], after[item.id][metric])
        for item in found.items
        if metric in before.get(item.id, ()) and metric in after.get(item.id, ())
    ]
    return find_forgetting(candidate, against, marks, job.evaluate.confidence, seconds)


def with_guard(evaluate: EvaluateSpec) -> EvaluateSpec:
    """Return the settings with the basics among the guards, where they are one."""
    if evaluate.forgetting != "guard" or BASICS in (evaluate.target, *evaluate.guards):
        return evaluate
    return evaluate.model_copy(update={"guards": (*evaluate.guards, BASICS)})


def objection_of(evaluate: EvaluateSpec, forgetting: Forgetting | None) -> str:
    """Return what forgetting has to say against a promotion: also a loss in one category that the sum does not show."""
    if evaluate.forgetting != "guard" or forgetting is None or not forgetting.is_beyond(evaluate.margin):
        return ""
    return f"forgot more than {100 * evaluate.margin:.1f} points of the {BASICS}"
