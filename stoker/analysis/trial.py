"""Comparing several models with each other: every pair on every benchmark, and one error rate for all of them (Holm).

With four branches there are six pairs; each tested at 5 % by itself would find a difference between equals in up to a
quarter of all trials. Pure: no files, no models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from stoker.analysis.comparison import Comparison, Outcome, PairedScores, compare_family
from stoker.analysis.statistics import holm


def compare_pairs(
    pairs: Sequence[tuple[str, str, Sequence[PairedScores]]], confidence: float, resamples: int
) -> list[Comparison]:
    """Compare both models of each pair; primary metrics are corrected over all pairs and benchmarks together."""
    found = [
        comparison
        for candidate, against, scores in pairs
        for comparison in compare_family(candidate, against, scores, confidence, resamples, num_families=len(pairs))
    ]
    primary = [index for index, each in enumerate(found) if each.is_primary]
    for index, p_value in zip(primary, holm([found[index].p_value for index in primary]), strict=True):
        found[index] = _at(found[index], p_value, confidence)
    return found


def describe_trial(comparisons: Sequence[Comparison], target: str) -> str:
    """Say in one sentence what the pairs show on the target."""
    on_target = [each for each in comparisons if each.is_primary and each.benchmark == target]
    if not on_target:
        return f"Nothing can be said on the target {target}: no pair could be compared there."
    better = [f"{each.candidate} over {each.against}" for each in on_target if each.outcome == "better"]
    better += [f"{each.against} over {each.candidate}" for each in on_target if each.outcome == "worse"]
    pairs = "1 pair" if len(on_target) == 1 else f"{len(on_target)} pairs"
    if not better:
        return f"No detectable difference on {target} ({pairs}, corrected for their number)."
    return f"Better on {target} ({pairs}, corrected for their number): {', '.join(better)}."


def _at(each: Comparison, p_corrected: float, confidence: float) -> Comparison:
    outcome: Outcome = "no-difference"
    if p_corrected <= 1 - confidence + 1e-12 and each.difference != 0:
        outcome = "better" if (each.difference > 0) == each.higher_is_better else "worse"
    return dataclasses.replace(each, p_value_corrected=p_corrected, outcome=outcome)
