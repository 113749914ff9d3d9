"""The verdict: from a candidate's comparisons to "promote" or "keep", with the reason in one plain sentence.

A version is promoted when it is better on the lab's target than the champion it continues (the base when there is
none) and no guard is lost. A guard is lost when it is worse after correction *and* the measured fall is above the
margin: so a real but tolerable fall passes, and so does noise. What a guard could still have lost unseen is said in
the notes, since a guard of few items proves little. Anything not measured never counts in a candidate's favour.
Pure: no files, no models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stoker.analysis.comparison import Comparison, Outcome
from stoker.spec.lab import EvaluateSpec

HELDOUT = "heldout"

__all__ = ["HELDOUT", "Comparison", "Verdict", "decide", "describe"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome` is the target's; `promote` also asks the guards. `notes` are sentences a person may want next."""

    outcome: Outcome
    promote: bool
    reason: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def decide(
    comparisons: Sequence[Comparison],
    evaluate: EvaluateSpec,
    parent: str | None,
    base: str,
    unmeasured: Mapping[str, str] | None = None,
    objection: str = "",
) -> Verdict:
    """Judge the candidate against `parent` (or `base`). `unmeasured` says why a benchmark has no comparison.

    `objection` is what else speaks against a promotion; empty: nothing.
    """
    against = parent or base
    primary = {each.benchmark: each for each in comparisons if each.against == against and each.is_primary}
    notes = _notes(primary, evaluate) + _note_on_base(comparisons, evaluate, parent, base)
    missing = unmeasured or {}
    target = primary.get(evaluate.target)
    if target is None:
        why = missing.get(evaluate.target, "no results")
        reason = f"Kept {against}: nothing can be said on the target {evaluate.target} ({why})."
        return Verdict("no-difference", False, reason, notes)
    said = describe(target, evaluate.confidence)
    if target.outcome == "worse":
        return Verdict("worse", False, f"Kept {against}: {target.candidate} is worse on {said}.", notes)
    if target.outcome == "no-difference":
        reason = f"Kept {against}: {target.candidate} shows no detectable difference on {said}; {_limit(target)}."
        return Verdict("no-difference", False, reason, notes)
    objection = _guards_object(primary, evaluate, missing) or objection
    if objection:
        return Verdict(
            "better", False, f"Kept {against}: {target.candidate} is better on {said}, but {objection}.", notes
        )
    guards = ", ".join(_guards(evaluate))
    held = f"; guards hold: {guards}" if guards else ""
    return Verdict("better", True, f"Promoted {target.candidate} over {against}: better on {said}{held}.", notes)


def describe(comparison: Comparison, confidence: float) -> str:
    """Return the numbers of a comparison in words: "heldout: NLL 0.81 against 0.93, -0.12 (95 % interval ...)"."""
    interval = f"{_signed(comparison, comparison.low)} to {_signed(comparison, comparison.high)}"
    items = "1 item" if comparison.n == 1 else f"{comparison.n} items"
    return (
        f"{comparison.benchmark}: {_name(comparison)} {_score(comparison, comparison.candidate_score)} "
        f"against {_score(comparison, comparison.against_score)}, {_signed(comparison, comparison.difference)} "
        f"({100 * confidence:g} % interval {interval}, {items})"
    )


def _guards(evaluate: EvaluateSpec) -> list[str]:
    return [name for name in evaluate.guards if name != evaluate.target]


def _guards_object(primary: Mapping[str, Comparison], evaluate: EvaluateSpec, missing: Mapping[str, str]) -> str | None:
    """Return why the guards forbid a promotion, or None."""
    lost = [primary[name] for name in _guards(evaluate) if name in primary and _is_lost(primary[name], evaluate.margin)]
    if lost:
        allowed = " and ".join(sorted({_amount(each, evaluate.margin) for each in lost}))
        falls = "; ".join(describe(each, evaluate.confidence) for each in lost)
        return f"fell by more than {allowed} on {falls}"
    unseen = [name for name in _guards(evaluate) if name not in primary]
    if unseen:
        return "a guard could not be measured ({})".format(
            "; ".join(f"{name}: {missing.get(name, 'no results')}" for name in unseen)
        )
    return None


def _is_lost(guard: Comparison, margin: float) -> bool:
    return guard.outcome == "worse" and abs(guard.difference) > margin


def _notes(primary: Mapping[str, Comparison], evaluate: EvaluateSpec) -> tuple[str, ...]:
    """Say how each guard stands and what it can't exclude, and where else the candidate lost."""
    notes = []
    for name, each in primary.items():
        said = describe(each, evaluate.confidence)
        if name in _guards(evaluate):
            notes.append(f"Guard {said}: {_guard_state(each, evaluate.margin)}.")
        elif name != evaluate.target and each.outcome == "worse":
            notes.append(f"Worse on {said}, which is not a guard.")
    return tuple(notes)


def _note_on_base(
    comparisons: Sequence[Comparison], evaluate: EvaluateSpec, parent: str | None, base: str
) -> tuple[str, ...]:
    """Say how far the line has come from its base, when the base is not already the opponent."""
    words = {"better": "Better", "worse": "Worse", "no-difference": "No detectable difference"}
    return tuple(
        f"{words[each.outcome]} against {base} on {describe(each, evaluate.confidence)}."
        for each in comparisons
        if parent is not None and each.against == base and each.is_primary and each.benchmark == evaluate.target
    )


def _guard_state(guard: Comparison, margin: float) -> str:
    worst_fall = -guard.low if guard.higher_is_better else guard.high
    if _is_lost(guard, margin):
        return f"lost, the margin is {_amount(guard, margin)}"
    if worst_fall <= margin:
        return f"holds, a fall above {_amount(guard, margin)} is excluded"
    return f"holds, but a fall of up to {_amount(guard, worst_fall)} can't be excluded with {guard.n} items"


def _limit(target: Comparison) -> str:
    if target.p_value < target.p_value_corrected and not target.low <= 0 <= target.high:
        return f"p = {target.p_value:.2g} alone becomes {target.p_value_corrected:.2g} over all benchmarks"
    effect = _amount(target, target.minimum_detectable_effect)
    return f"with these items a true difference of {effect} would be found four times in five"


def _is_share(comparison: Comparison) -> bool:
    return comparison.metric != "nll"


def _name(comparison: Comparison) -> str:
    return comparison.metric if _is_share(comparison) else "NLL"


def _score(comparison: Comparison, value: float) -> str:
    return f"{100 * value:.1f} %" if _is_share(comparison) else f"{value:.4g}"


def _signed(comparison: Comparison, value: float) -> str:
    return f"{100 * value:+.1f}" if _is_share(comparison) else f"{value:+.3g}"


def _amount(comparison: Comparison, value: float) -> str:
    return f"{100 * value:.1f} points" if _is_share(comparison) else f"{value:.3g} nats"
