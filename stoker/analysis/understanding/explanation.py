"""Everything that one model's answers to one benchmark say, put together; the same facts for a terminal, JSON and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stoker.analysis.understanding.categories import Category, by_category, overall
from stoker.analysis.understanding.confidence import Reliability, reliability
from stoker.analysis.understanding.confusion import Confusion, confusion
from stoker.analysis.understanding.failures import MEANING, Lengths, commonest_answers, kind_of, kinds_of, lengths_of
from stoker.analysis.understanding.groups import Grouping, group_failures
from stoker.analysis.understanding.marks import Marked, MarkedSet, mark
from stoker.mailbox.benches import BenchItem


@dataclass(frozen=True, slots=True)
class Explanation:
    """A model on a benchmark. What can't be said of it is None or empty, and `notes` say why."""

    model: str
    benchmark: str
    scorer: str
    marked: MarkedSet
    score: float | None
    low: float | None
    high: float | None
    categories: tuple[Category, ...]
    confusion: Confusion | None
    reliability: Reliability | None
    kinds: tuple[tuple[str, tuple[Marked, ...]], ...]
    grouping: Grouping
    lengths: Lengths | None
    repeated_answers: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the facts with stable names."""
        marked = self.marked
        return {
            "model": self.model,
            "benchmark": self.benchmark,
            "scorer": self.scorer,
            "metric": marked.primary,
            "mark_metric": marked.mark_metric,
            "n": len(marked.valued),
            "judged": len(marked.judged),
            "wrong": len(marked.wrong),
            "left_out": marked.num_left_out,
            "score": self.score,
            "low": self.low,
            "high": self.high,
            "categories": [one.to_json() for one in self.categories],
            "confusion": self.confusion.to_json() if self.confusion else None,
            "calibration": self.reliability.to_json() if self.reliability else None,
            "kinds": [_kind_json(name, members) for name, members in self.kinds],
            "groups": [_group_json(one) for one in self.grouping.groups],
            "groups_silhouette": self.grouping.silhouette,
            "groups_alone": self.grouping.num_alone,
            "groups_unread": self.grouping.num_unread,
            "lengths": asdict(self.lengths) if self.lengths else None,
            "repeated_answers": [{"answer": answer, "times": times} for answer, times in self.repeated_answers],
            "notes": list(self.notes),
        }


def explain(
    model: str, benchmark: str, scorer: str, primary: str, items: Sequence[BenchItem], *,
    confidence: float, resamples: int, right_at: float = 1.0,
) -> Explanation:  # fmt: skip
    """Return what the items say."""
    marked = mark(items, primary, right_at)
    judged, wrong = marked.judged, marked.wrong
    whole = overall(marked, confidence, resamples)
    score, low, high = whole if whole is not None else (None, None, None)
    matrix = confusion(judged)
    sure = reliability(judged, confidence, resamples)
    grouping = group_failures(wrong, judged)
    return Explanation(
        model, benchmark, scorer, marked, score, low, high, tuple(by_category(marked, confidence, resamples)), matrix,
        sure, tuple((name, tuple(members)) for name, members in kinds_of(wrong)), grouping, lengths_of(marked.items),
        tuple(commonest_answers(wrong)), tuple(_notes(marked, matrix, sure, grouping)),
    )  # fmt: skip


def example_json(one: Marked) -> dict[str, Any]:
    """Return an item as an example."""
    item = one.item
    return {
        "id": item.id, "category": item.category, "prompt": item.prompt, "expected": item.expected, "answer": one.given,
        "kind": kind_of(one),
    }  # fmt: skip


def _kind_json(name: str, members: Sequence[Marked]) -> dict[str, Any]:
    return {
        "kind": name, "meaning": MEANING[kind_of(members[0])], "n": len(members), "example": example_json(members[0]),
        "items": [one.item.id for one in members],
    }  # fmt: skip


def _group_json(group: Any) -> dict[str, Any]:
    return {
        "n": group.size, "words": list(group.words),
        "categories": [{"category": name, "n": num} for name, num in group.categories],
        "example": example_json(group.example), "items": [one.item.id for one in group.members],
    }  # fmt: skip


def _notes(marked: MarkedSet, matrix: Confusion | None, sure: Reliability | None, grouping: Grouping) -> list[str]:
    notes = []
    if marked.mark_metric is None:
        return ["No answer was scored, only likelihood: there are no failures to look at."]
    if len(marked.judged) < len(marked.valued):
        notes.append(f"{len(marked.valued) - len(marked.judged)} items have a likelihood but no scored answer.")
    if not any(one.item.category for one in marked.items):
        notes.append(
            'No item has a category; give them one ("category" in the benchmark\'s lines) to compare kinds of items.'
        )
    if matrix is None:
        notes.append("No confusion matrix: the expected answers are too many, or too few of each, to be classes.")
    if sure is None and not any(one.item.confidence is not None for one in marked.items):
        notes.append("No calibration: confidence is kept by stoker eval bench, not by an evaluation.")
    elif sure is None:
        notes.append("No calibration: fewer than 20 items have a confidence.")
    if grouping.silhouette is None and marked.wrong:
        notes.append(f"{len(marked.wrong)} failures are too few to group; 6 at least are needed.")
    elif grouping.silhouette == 0.0:
        notes.append("The failures fall into no groups: their words are all alike, or all different.")
    if grouping.num_unread:
        notes.append(f"Groups are of {grouping.num_unread} failures fewer: no more than 2,000 are compared.")
    return notes
