"""Label confidence: does a row's label agree with the labels of the rows most like it?

Rows are TF-IDF vectors over hashed words and word pairs of their prompts; the NUM_NEIGHBOURS nearest by cosine vote, each by its
similarity. That neighbours reveal wrong labels: Wilson 1972 (edited nearest neighbours), Bahri et al. 2020 (arXiv 2004.12289). How far a
vote is to be believed is measured in the file itself, in the spirit of confident learning (Northcutt et al. 2021, arXiv 1911.00068):
of all rows whose neighbours are as unanimous, the share whose own label is the neighbours' label (belief), and of all rows with the row's
label, the share that the same other label wins in (doubt). Where belief is low or doubt is high words don't decide the label, and
nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, diags_array

from stoker.data.checks.checker import is_label_set
from stoker.data.quality.features import Features, Ragged
from stoker.data.quality.signals import Signal

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
NUM_NEIGHBOURS = 10
MIN_NEIGHBOURS = 5
LEAST_SIMILARITY = 0.05
MIN_VOTE, STRONG_VOTE = 0.7, 0.85
MIN_LABELLED_SHARE = 0.9
BELIEVED, STRONGLY_BELIEVED, NEARLY_CERTAIN = 0.8, 0.9, 0.95
RARELY_DOUBTED, DOUBTED, OFTEN_DOUBTED = 0.1, 0.2, 0.5
MAX_REFERENCES = 20_000
_NUM_FEATURES = 1 << 20
_MAX_ROW_SHARE = 0.5
_PORTION = 1000


def has_labels(features: Features) -> bool:
    """Tell whether the answers come from a short list, a few stray ones aside: an answer that no other row gives is no label."""
    counts = np.unique(features.answers, return_counts=True)[1]
    shared = counts[counts > 1]
    return int(shared.sum()) >= MIN_LABELLED_SHARE * len(features) and is_label_set(int(shared.sum()), len(shared))


def find_wrong_labels(features: Features) -> Iterator[Signal]:
    """Yield rows whose neighbours agree on another label; of a file whose answers are labels."""
    values, labels = np.unique(features.answers, return_inverse=True)
    vectors = _tf_idf(features.prompt_words)
    references = np.sort(np.argsort(features.ids, kind="stable")[:MAX_REFERENCES])
    votes, nearest = _votes(vectors, references, labels, len(values))
    total = votes.sum(axis=1)
    winner = votes.argmax(axis=1)
    share = np.divide(votes.max(axis=1), total, out=np.zeros(len(total)), where=total > 0)
    is_sure = share >= MIN_VOTE
    belief = _belief(share, winner == labels, is_sure)
    doubt = _doubt(labels, winner, is_sure, len(values))
    shown = [features.label_words.get(int(value), "?") for value in values]
    counts = np.bincount(labels)
    for row in np.flatnonzero(counts[labels] == 1).tolist():
        words = f"the answer {shown[labels[row]][:30]!r} is no other row's, and the file's answers are labels"
        yield Signal(row, "stray-label", 0.6, words)
    for row in np.flatnonzero(is_sure & (winner != labels)).tolist():
        strength = _strength(float(share[row]), float(belief[row]), float(doubt[row]))
        if not strength:
            continue
        lines = ", ".join(str(line) for line in features.lines[nearest[row][labels[nearest[row]] == winner[row]][:3]])
        words = (
            f"{share[row]:.0%} of the most similar rows say {shown[winner[row]][:30]!r} (lines {lines}), this one "
            f"{shown[labels[row]][:30]!r}; in this file such a majority is right {belief[row]:.0%} of the time"
        )
        yield Signal(row, "label", strength, words)


def _strength(vote: float, belief: float, doubt: float) -> float:
    """Return how much a vote against a row's label weighs."""
    if vote >= STRONG_VOTE and belief >= STRONGLY_BELIEVED and doubt <= RARELY_DOUBTED:
        return 0.85
    if (belief >= BELIEVED and doubt <= DOUBTED) or (belief >= NEARLY_CERTAIN and doubt <= OFTEN_DOUBTED):
        return 0.5
    return 0.0


def _doubt(
    labels: npt.NDArray[np.integer], winner: npt.NDArray[np.integer], is_sure: npt.NDArray[np.bool_], num_labels: int
) -> Floats:
    """Return for each row how many of the rows with its label its neighbours' label wins in: high where two labels are alike."""
    pairs = labels.astype(np.int64) * num_labels + winner
    sure = np.bincount(pairs[is_sure], minlength=num_labels * num_labels)
    rows = np.maximum(np.bincount(labels[is_sure], minlength=num_labels), 1)
    return np.asarray(np.maximum(sure[pairs] - 1, 0) / rows[labels])


def _belief(share: Floats, is_right: npt.NDArray[np.bool_], is_sure: npt.NDArray[np.bool_]) -> Floats:
    """Return for each row how often a majority at least as large is right in this file."""
    belief = np.zeros(len(share))
    rows = np.flatnonzero(is_sure)
    order = rows[np.argsort(-share[rows], kind="stable")]
    right = np.cumsum(is_right[order]) / np.arange(1, len(order) + 1)
    # Rows of equal shares are one step: the last of them holds the figure of all.
    last = np.searchsorted(-share[order], -share[order], side="right") - 1
    belief[order] = right[last]
    return belief


def _tf_idf(words: Ragged) -> csr_array:
    """Return the rows as unit vectors; what stands in more than half of the rows, or in one alone, is left out."""
    sizes = words.sizes
    row_of_each = np.repeat(np.arange(len(sizes)), sizes)
    single = words.flat.astype(np.uint64)
    is_pair = row_of_each[1:] == row_of_each[:-1] if len(single) else np.zeros(0, bool)
    pairs = (single[:-1] * np.uint64(0x9E3779B97F4A7C15) + single[1:])[is_pair] >> np.uint64(20)
    rows = np.concatenate((row_of_each, row_of_each[1:][is_pair]))
    columns = (np.concatenate((single, pairs)) % np.uint64(_NUM_FEATURES)).astype(np.int64)
    counts = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(sizes), _NUM_FEATURES))
    counts.sum_duplicates()
    frequency = np.bincount(counts.indices, minlength=_NUM_FEATURES)
    is_telling = (frequency > 1) & (frequency <= max(2, _MAX_ROW_SHARE * len(sizes)))
    weight = np.where(is_telling, np.log((1 + len(sizes)) / (1 + frequency)), 0.0)
    counts.data = (1 + np.log(counts.data)) * weight[counts.indices]
    counts.eliminate_zeros()
    norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    return csr_array(diags_array(1 / np.maximum(norms, 1e-12)) @ counts)


def _votes(
    vectors: csr_array, references: Indices, labels: npt.NDArray[np.integer], num_labels: int
) -> tuple[Floats, list[Indices]]:
    """Return each row's votes by label (row itself left out) and its nearest rows, the nearest first."""
    num_rows = vectors.shape[0]
    votes, nearest = np.zeros((num_rows, num_labels)), []
    table = vectors[references].T.tocsr()
    for start in range(0, num_rows, _PORTION):
        similarity = csr_array(vectors[start : start + _PORTION] @ table)
        for i in range(similarity.shape[0]):
            span = slice(similarity.indptr[i], similarity.indptr[i + 1])
            others, scores = references[similarity.indices[span]], similarity.data[span]
            is_near = (others != start + i) & (scores >= LEAST_SIMILARITY)
            others, scores = others[is_near], scores[is_near]
            best = np.lexsort((others, -scores))[:NUM_NEIGHBOURS] if len(scores) else np.zeros(0, np.int64)
            nearest.append(others[best])
            if len(best) >= MIN_NEIGHBOURS:
                np.add.at(votes[start + i], labels[others[best]], scores[best])
    return votes, nearest
