"""Groups of failures that look alike: TF-IDF of prompt and answer, merged upward, cut where the groups are clearest.

Clustering is average linkage over cosine distances; the number of groups is the one with the best mean silhouette
(Rousseeuw, J. Comput. Appl. Math. 20, 1987). A group's words are those commoner in it than in all other items, right ones
too, by the log-odds ratio with a Dirichlet prior (Monroe, Colaresi and Quinn, Political Analysis 16, 2008), eq. 22.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from stoker.analysis.statistics import Floats
from stoker.analysis.understanding.marks import Marked

LEAST_FAILURES = 6
LEAST_IN_GROUP = 3
MOST_GROUPS = 12
MOST_FAILURES = 2000
_LEAST_SILHOUETTE = 0.05
_NUM_WORDS = 6
_LEAST_Z = 1.64  # one-sided 5 %
_PRIOR_SHARE = 0.1
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+|\d+")
_Labels = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True, slots=True)
class Group:
    """`words` are its commonest against the rest; `example` is the failure in its middle; `categories` its commonest."""

    members: tuple[Marked, ...]
    words: tuple[str, ...]
    example: Marked
    categories: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        return len(self.members)


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups, largest first; `num_alone` failures are like no others, `num_unread` were too many to look at.

    `silhouette` says how clear the groups are, up to 1; None when there are too few failures to group.
    """

    groups: tuple[Group, ...]
    num_alone: int
    num_unread: int
    silhouette: float | None


def group_failures(wrong: Sequence[Marked], everything: Sequence[Marked], seed: int = 0) -> Grouping:
    """Return the wrong answers in groups that look alike."""
    chosen = _sample(wrong, seed)
    num_unread = len(wrong) - len(chosen)
    if len(chosen) < LEAST_FAILURES:
        return Grouping((), len(chosen), num_unread, None)
    vectors = tf_idf([words_of(one) for one in chosen])
    distances = np.clip(1 - (vectors @ vectors.T).toarray(), 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    labels, silhouette = cut(distances)
    groups = [_group(np.flatnonzero(labels == label), chosen, everything, distances) for label in np.unique(labels)]
    kept = [group for group in groups if group.size >= LEAST_IN_GROUP]
    num_alone = len(chosen) - sum(group.size for group in kept)
    return Grouping(tuple(sorted(kept, key=lambda group: -group.size)), num_alone, num_unread, silhouette)


def words_of(one: Marked) -> list[str]:
    """Return the words of prompt and answer; every number is the same word, for what matters is that there is one."""
    found = _WORD.findall(f"{one.item.prompt} {one.given or ''}".casefold())
    return ["#" if word[0].isdigit() else word for word in found]


def tf_idf(documents: Sequence[Sequence[str]]) -> sparse.csr_array:
    """Return unit vectors [documents, words]: 1 + log of the count, times the smoothed log of the rarity."""
    counts = [Counter(words) for words in documents]
    frequency = Counter(word for found in counts for word in found)
    places = {word: place for place, word in enumerate(sorted(frequency))}
    rows = [row for row, found in enumerate(counts) for _ in found]
    columns = [places[word] for found in counts for word in found]
    rarity = {word: 1 + np.log((1 + len(documents)) / (1 + num)) for word, num in frequency.items()}
    weights = [(1 + np.log(num)) * rarity[word] for found in counts for word, num in found.items()]
    table = sparse.csr_array((weights, (rows, columns)), shape=(len(documents), max(1, len(places))), dtype=np.float64)
    lengths = np.sqrt(np.asarray((table * table).sum(axis=1)).ravel())
    return sparse.csr_array(sparse.diags_array(1 / np.where(lengths > 0, lengths, 1.0)) @ table)


def cut(distances: Floats) -> tuple[_Labels, float]:
    """Return each one's group, and the mean silhouette; one group for all when no cut is clear."""
    tree = hierarchy.linkage(squareform(distances, checks=False), method="average")
    best, best_silhouette = np.ones(len(distances), dtype=np.int32), _LEAST_SILHOUETTE
    for num in range(2, min(MOST_GROUPS, len(distances) // 2) + 1):
        labels = hierarchy.fcluster(tree, num, criterion="maxclust").astype(np.int32)
        value = mean_silhouette(distances, labels)
        if value > best_silhouette + 1e-9:
            best, best_silhouette = labels, value
    return best, best_silhouette if best.max() > 1 else 0.0


def mean_silhouette(distances: Floats, labels: _Labels) -> float:
    """Return the mean over all of (b - a) / max(a, b): a to the own group, b to the nearest other; 0 for one alone."""
    names, places = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        return 0.0
    member = (places[:, None] == np.arange(len(names))).astype(np.float64)
    sizes = member.sum(axis=0)
    sums = distances @ member
    own_size = sizes[places]
    own = sums[np.arange(len(labels)), places] / np.maximum(own_size - 1, 1)
    others = np.where(member > 0, np.inf, sums / sizes).min(axis=1)
    wide = np.maximum(np.maximum(own, others), 1e-12)
    return float(np.mean(np.where(own_size > 1, (others - own) / wide, 0.0)))


def telling_words(inside: Sequence[Sequence[str]], outside: Sequence[Sequence[str]]) -> list[str]:
    """Return the words that are commoner inside than outside, the surest first; those seen in two items at least."""
    a, b = (Counter(word for words in side for word in words) for side in (inside, outside))
    spread = Counter(word for words in inside for word in set(words))
    prior = a + b
    total_a, total_b, total = sum(a.values()), sum(b.values()), _PRIOR_SHARE * sum(prior.values())
    found = []
    for word in a:
        if spread[word] < 2 or (len(word) < 2 and word.isascii()):
            continue
        weight = _PRIOR_SHARE * prior[word]
        x, y = a[word] + weight, b[word] + weight
        odds = np.log(x / (total_a + total - x)) - np.log(y / (total_b + total - y))
        z = float(odds / np.sqrt(1 / x + 1 / y))
        if z > _LEAST_Z:
            found.append((-z, word))
    return [word for _, word in sorted(found)[:_NUM_WORDS]]


def _group(
    places: np.ndarray[Any, np.dtype[np.intp]],
    chosen: Sequence[Marked],
    everything: Sequence[Marked],
    distances: Floats,
) -> Group:
    members = [chosen[int(place)] for place in places]
    ids = {one.item.id for one in members}
    outside = [words_of(one) for one in everything if one.item.id not in ids]
    words = telling_words([words_of(one) for one in members], outside)
    middle = places[int(np.argmin(distances[np.ix_(places, places)].sum(axis=1)))]
    categories = Counter(one.item.category for one in members if one.item.category is not None)
    return Group(tuple(members), tuple(words), chosen[int(middle)], tuple(categories.most_common(3)))


def _sample(wrong: Sequence[Marked], seed: int) -> list[Marked]:
    if len(wrong) <= MOST_FAILURES:
        return list(wrong)
    places = np.random.default_rng(seed).choice(len(wrong), MOST_FAILURES, replace=False)
    return [wrong[int(place)] for place in sorted(places)]
