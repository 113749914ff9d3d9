"""Consistency with neighbours: rows that ask the same, or nearly the same, and are answered differently.

Same: equal folded prompts and tools. Nearly the same: prompts that MinHash clusters at NEAR_SIMILARITY of their word triples, boilerplate
aside (`sealing.neighbours`). Answers agree when their sets of words have a Jaccard similarity of AGREEMENT. A row is doubted only when the
others agree with each other: where every neighbour has an answer of its own, the prompts differ in what matters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stoker.data.quality.features import Features
from stoker.data.quality.signals import Signal
from stoker.data.sealing.neighbours import find_clusters
from stoker.data.sealing.shingles import Hashes, ShingleSets

NEAR_SIMILARITY = 0.8
AGREEMENT = 0.5
DISAGREEMENT = 0.2
MIN_OTHERS_SAME, MIN_OTHERS_NEAR = 3, 5
MIN_UNANIMITY = 0.75
SHORT_WORDS = 5
_MAX_COMPARED = 20


def find_inconsistent(features: Features, prompts: ShingleSets, boilerplate: Hashes) -> Iterator[Signal]:
    """Yield rows whose answer is not their neighbours'; `prompts` are the prompts' shingles, row for row."""
    same = np.unique(features.prompts, return_inverse=True)[1]
    has_prompt = features.prompt_chars > 0
    doubted: set[int] = set()
    for members in _groups(np.where(has_prompt, same, -1)):
        for signal in _same_prompt(features, members):
            doubted.add(signal.row)
            yield signal
    near = find_clusters(prompts, boilerplate, NEAR_SIMILARITY)
    is_bare = prompts.without(boilerplate).sizes > 0
    for members in _groups(np.where(has_prompt & is_bare, near, -1)):
        if len(members) > MIN_OTHERS_NEAR:
            yield from (signal for signal in _near_prompts(features, members) if signal.row not in doubted)


def _groups(labels: npt.NDArray[np.integer]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows of each label that two or more rows share; -1 is no label."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=np.int64(-2)))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        if end - start > 1 and labels[order[start]] >= 0:
            yield order[start:end].astype(np.int64)


def _same_prompt(features: Features, members: npt.NDArray[np.int64]) -> Iterator[Signal]:
    if len(np.unique(features.answers[members])) == 1:
        return
    if len(members) > MIN_OTHERS_SAME:
        words = "the same question is answered otherwise by {num} rows that agree (lines {lines})"
        yield from _against_majority(features, members, 0.85, words)
        return
    is_short = all(len(features.answer_words[row]) <= SHORT_WORDS for row in members)
    for row in members.tolist() if is_short else ():
        others = members[features.answers[members] != features.answers[row]]
        if len(others):
            words = f"the same question has another answer on line {features.lines[others[0]]}"
            yield Signal(row, "neighbours", 0.5, words)


def _near_prompts(features: Features, members: npt.NDArray[np.int64]) -> Iterator[Signal]:
    words = "{num} rows with nearly the same question agree on another answer (lines {lines})"
    yield from _against_majority(features, members, 0.5, words)


def _against_majority(
    features: Features, members: npt.NDArray[np.int64], strength: float, words: str
) -> Iterator[Signal]:
    """Yield the members whose answer disagrees with others that agree among themselves."""
    compared = members[np.argsort(features.ids[members], kind="stable")[:_MAX_COMPARED]]
    answers = {row: np.unique(features.answer_words[row]) for row in {*members.tolist(), *compared.tolist()}}
    for row in members.tolist():
        others = compared[compared != row]
        if max((_jaccard(answers[row], answers[other]) for other in others.tolist()), default=1.0) >= DISAGREEMENT:
            continue
        centre, others_of_centre = others[0], others[1:]
        agreeing = [
            other for other in others_of_centre.tolist() if _jaccard(answers[centre], answers[other]) >= AGREEMENT
        ]
        if len(agreeing) + 1 >= MIN_UNANIMITY * len(others) and len(agreeing) >= 2:
            lines = ", ".join(str(features.lines[other]) for other in [centre, *agreeing][:3])
            yield Signal(row, "neighbours", strength, words.format(num=len(agreeing) + 1, lines=lines))


def _jaccard(left: npt.NDArray[np.integer], right: npt.NDArray[np.integer]) -> float:
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / max(1, len(left) + len(right) - shared)
