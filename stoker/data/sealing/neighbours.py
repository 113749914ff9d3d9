"""Which rows are near each other: MinHash proposes clusters inside a file, an exact join guards what is sealed.

Rows that hold too little of what any other row holds are left out first. `find_clusters` may miss a pair now and then, as MinHash does; nothing is trained or sealed on its word alone.
`near_pairs` misses none: it counts shared shingles by a sparse product. It is run with few rows on one side
(sealed rows, candidates for sealing, benchmark items), where it is cheap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from rensa import RMinHash
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from stoker.data.sealing.shingles import Hashes, Indices, ShingleSets, is_member, shares_prefix, sorted_unique

Scores = npt.NDArray[np.float64]

NUM_PERMUTATIONS = 128
BAND_MISSES = 1e-4
_MINHASH_SEED = 20_261
_SIGNATURE_ROWS = 8192
_BANDS_AT_ONCE = 8
_WINDOW = 12
_ESTIMATE_SLACK = 0.15
_PAIR_ELEMENTS = 4_000_000
_JOIN_WORK = 16_000_000
_MIX = np.uint64(0x9E3779B97F4A7C15)


def near_pairs(
    left: ShingleSets, right: ShingleSets, boilerplate: Hashes, similarity: float
) -> tuple[Indices, Indices, Scores]:
    """Return (left row, right row, similarity) of every pair at or above `similarity`, both sides less `boilerplate`.

    A pair that shares half of that, and reaches `similarity` with boilerplate and all, is near too: in a row of few words
    of its own, a few others weigh too much. Where nothing but boilerplate is left of both rows, the whole sets are compared.
    """
    bare_left, bare_right = left.without(boilerplate), right.without(boilerplate)
    rows, columns, scores = _join(bare_left, bare_right, similarity if len(boilerplate) == 0 else similarity / 2)
    scores = _with_boilerplate(left, right, (rows, columns, scores), similarity)
    is_near = scores >= similarity
    rows, columns, scores = rows[is_near], columns[is_near], scores[is_near]
    empty_left = np.flatnonzero((bare_left.sizes == 0) & (left.sizes > 0))
    empty_right = np.flatnonzero((bare_right.sizes == 0) & (right.sizes > 0))
    if len(empty_left) == 0 or len(empty_right) == 0:
        return rows, columns, scores
    more_rows, more_columns, more_scores = _join(left.take(empty_left), right.take(empty_right), similarity)
    return (
        np.concatenate((rows, empty_left[more_rows])),
        np.concatenate((columns, empty_right[more_columns])),
        np.concatenate((scores, more_scores)),
    )


def best_match(
    left: ShingleSets, right: ShingleSets, boilerplate: Hashes, similarity: float
) -> tuple[Indices, Indices, Scores]:
    """Return for each left row with a near right row the nearest one (the first among equals)."""
    return _best(*near_pairs(left, right, boilerplate, similarity))


def best_prompt_match(
    left: ShingleSets, right: ShingleSets, boilerplate: Hashes, similarity: float
) -> tuple[Indices, Indices, Scores]:
    """Return the same for prompts; prompts of boilerplate alone ("Classify this:") match nothing."""
    return _best(*_join(left.without(boilerplate), right.without(boilerplate), similarity))


def _best(rows: Indices, columns: Indices, scores: Scores) -> tuple[Indices, Indices, Scores]:
    order = np.lexsort((columns, -scores, rows))
    first = np.concatenate(([True], np.diff(rows[order]) != 0))[: len(order)]
    best = order[first]
    return rows[best], columns[best], scores[best]


def find_clusters(sets: ShingleSets, boilerplate: Hashes, similarity: float) -> Indices:
    """Return the cluster of each row of one file, numbered from 0 in order of first appearance.

    Rows are linked by pairs whose true similarity was checked; clusters are what the links connect.
    """
    bare = sets.without(boilerplate)
    is_empty = bare.sizes == 0
    labels = np.arange(len(sets), dtype=np.int64)
    for subset, rows in ((bare, np.flatnonzero(~is_empty)), (sets, np.flatnonzero(is_empty))):
        if len(rows):
            labels[rows] = rows[_cluster(subset.take(rows), similarity)]
    first, inverse = np.unique(labels, return_index=True, return_inverse=True)[1:]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered: Indices = rank[inverse]
    return numbered


def _with_boilerplate(
    left: ShingleSets, right: ShingleSets, pairs: tuple[Indices, Indices, Scores], similarity: float
) -> Scores:
    """Return the scores of pairs, those below `similarity` replaced by the similarity of the whole sets."""
    rows, columns, scores = pairs
    low = np.flatnonzero(scores < similarity)
    if len(low) == 0:
        return scores
    ours, left_place = np.unique(rows[low], return_inverse=True)
    theirs, right_place = np.unique(columns[low], return_inverse=True)
    some, others = left.take(ours), right.take(theirs)
    both = ShingleSets(
        np.concatenate((some.flat, others.flat)), np.concatenate((some.offsets, others.offsets[1:] + some.offsets[-1]))
    )
    raised = scores.copy()
    raised[low] = pair_similarity(both, left_place, right_place + len(ours))
    return raised


def pair_similarity(sets: ShingleSets, left: Indices, right: Indices) -> Scores:
    """Return the true Jaccard similarity of pairs of rows."""
    sizes = sets.sizes
    scores = np.empty(len(left), np.float64)
    for start, end in _portions(sizes[left], _PAIR_ELEMENTS):
        ours, theirs = left[start:end], right[start:end]
        distinct, place = np.unique(theirs, return_inverse=True)
        chosen = sets.take(distinct)
        keys = (chosen.row_of_each().astype(np.uint64) << np.uint64(32)) | chosen.flat
        queries = sets.take(ours)
        tags = place.astype(np.uint64)[queries.row_of_each()] << np.uint64(32)
        is_shared = _is_in(tags | queries.flat, keys)
        shared = np.bincount(queries.row_of_each()[is_shared], minlength=len(ours))
        scores[start:end] = shared / np.maximum(sizes[ours] + sizes[theirs] - shared, 1)
    return scores


def _join(left: ShingleSets, right: ShingleSets, similarity: float) -> tuple[Indices, Indices, Scores]:
    """Return every pair with Jaccard similarity at or above `similarity`, by counting what each pair shares."""
    vocabulary = sorted_unique(left.flat if len(left.flat) <= len(right.flat) else right.flat)
    (a, left_rows), (b, right_rows) = (_likely(sets, vocabulary, similarity) for sets in (left, right))
    left_sizes, right_sizes = left.sizes[left_rows], right.sizes[right_rows]
    b = b.T.tocsr()
    found: list[tuple[Indices, Indices, Scores]] = []
    work = np.diff(b.indptr)[a.indices]
    work_of_row = np.bincount(np.repeat(np.arange(len(left_rows)), np.diff(a.indptr)), work, minlength=len(left_rows))
    for start, end in _portions(work_of_row.astype(np.int64), _JOIN_WORK):
        shared = (a[start:end] @ b).tocoo()
        rows, columns = shared.coords[0].astype(np.int64) + start, shared.coords[1].astype(np.int64)
        scores = shared.data / (left_sizes[rows] + right_sizes[columns] - shared.data)
        is_near = scores >= similarity
        found.append((left_rows[rows[is_near]], right_rows[columns[is_near]], scores[is_near]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return (
        np.concatenate([rows for rows, _, _ in found]),
        np.concatenate([columns for _, columns, _ in found]),
        np.concatenate([scores for _, _, scores in found]),
    )


def _likely(sets: ShingleSets, vocabulary: Hashes, similarity: float) -> tuple[csr_array, Indices]:
    """Return the incidence of the rows that have enough of the vocabulary to be near any row of the other side, and those rows."""
    incidence = _incidence(sets, vocabulary)
    rows = np.flatnonzero(np.diff(incidence.indptr) >= np.maximum(similarity * sets.sizes - 1e-9, 1))
    return incidence[rows], rows


def _incidence(sets: ShingleSets, vocabulary: Hashes) -> csr_array:
    """Return the rows x vocabulary matrix of ones; shingles outside the vocabulary are left out."""
    is_known = is_member(sets.flat, vocabulary)
    columns = np.searchsorted(vocabulary, sets.flat[is_known])
    row_ends = np.searchsorted(np.flatnonzero(is_known), sets.offsets)
    ones = np.ones(len(columns), np.int32)
    return csr_array((ones, columns, row_ends), shape=(len(sets), len(vocabulary)))


def _cluster(sets: ShingleSets, similarity: float) -> Indices:
    """Return for each row the index of its cluster's first row."""
    labels = np.arange(len(sets), dtype=np.int64)
    rows = np.flatnonzero(_may_have_neighbours(sets, similarity))
    if len(rows):
        labels[rows] = rows[_cluster_likely(sets.take(rows), similarity)]
    return labels


def _may_have_neighbours(sets: ShingleSets, similarity: float) -> npt.NDArray[np.bool_]:
    """Tell which rows have enough shingles that another row holds too; the others are near nothing, and most are others.

    What two rows share is at least `similarity` of either. No set may be empty.
    """
    ordered = np.sort(sets.flat)
    repeated = sorted_unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    num_shared = np.add.reduceat(shares_prefix(sets.flat, repeated), sets.offsets[:-1], dtype=np.int64)
    likely: npt.NDArray[np.bool_] = num_shared >= similarity * sets.sizes - 1e-9
    return likely


def _cluster_likely(sets: ShingleSets, similarity: float) -> Indices:
    signatures = _signatures(sets)
    rows_per_band = _rows_per_band(similarity)
    num_rows = len(sets)
    labels = np.arange(num_rows, dtype=np.int64)
    linked: list[npt.NDArray[np.int64]] = []
    starts = range(0, NUM_PERMUTATIONS - rows_per_band + 1, rows_per_band)
    for group in range(0, len(starts), _BANDS_AT_ONCE):
        candidates = [
            pairs for start in starts[group : group + _BANDS_AT_ONCE]
            for pairs in _bucket_pairs(signatures[:, start : start + rows_per_band])
        ]  # fmt: skip
        codes = sorted_unique(np.concatenate(candidates)) if candidates else np.zeros(0, np.int64)
        left, right = codes // num_rows, codes % num_rows
        is_open = labels[left] != labels[right]
        left, right = left[is_open], right[is_open]
        likely = _estimate(signatures, left, right) >= similarity - _ESTIMATE_SLACK
        left, right = left[likely], right[likely]
        is_near = pair_similarity(sets, left, right) >= similarity
        if is_near.any():
            linked.append(left[is_near] * num_rows + right[is_near])
            labels = _components(np.concatenate(linked), num_rows)
    return labels


def _signatures(sets: ShingleSets) -> Hashes:
    signatures = np.empty((len(sets), NUM_PERMUTATIONS), np.uint32)
    for start in range(0, len(sets), _SIGNATURE_ROWS):
        end = min(start + _SIGNATURE_ROWS, len(sets))
        offsets = sets.offsets[start : end + 1]
        flat = sets.flat[offsets[0] : offsets[-1]].astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            flat, (offsets - offsets[0]).astype(np.uint64), num_perm=NUM_PERMUTATIONS, seed=_MINHASH_SEED
        )
        numbers = itertools.chain.from_iterable(matrix.to_rows())
        signatures[start:end] = np.fromiter(numbers, np.uint32, (end - start) * NUM_PERMUTATIONS).reshape(
            end - start, -1
        )
    return signatures


def _rows_per_band(similarity: float) -> int:
    """Return the widest band that still misses a pair at the threshold with a probability under BAND_MISSES."""
    widths = [width for width in range(1, 17) if (1 - similarity**width) ** (NUM_PERMUTATIONS // width) <= BAND_MISSES]
    return max(widths, default=1)


def _bucket_pairs(band: Hashes) -> Iterator[npt.NDArray[np.int64]]:
    """Yield coded pairs (smaller row * rows + larger row) of rows that agree in a band.

    A bucket of many rows must not become a square: each row meets the next _WINDOW rows of its bucket and the
    bucket's first row; clusters grow together over the bands.
    """
    num_rows = len(band)
    keys = np.zeros(num_rows, np.uint64)
    for column in band.T:
        keys = (keys ^ column) * _MIX
        keys ^= keys >> np.uint64(31)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    position = np.arange(num_rows)
    place_in_bucket = position - np.maximum.accumulate(np.where(is_first, position, 0))
    for step in range(1, _WINDOW + 1):
        late = np.flatnonzero(place_in_bucket >= step)
        if len(late) == 0:
            return
        yield order[late - step] * num_rows + order[late]
    late = np.flatnonzero(place_in_bucket > _WINDOW)
    yield order[late - place_in_bucket[late]] * num_rows + order[late]


def _estimate(signatures: Hashes, left: Indices, right: Indices) -> Scores:
    scores = np.empty(len(left), np.float64)
    step = 1 << 16
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        scores[part] = (signatures[left[part]] == signatures[right[part]]).mean(axis=1)
    return scores


def _components(codes: npt.NDArray[np.int64], num_rows: int) -> Indices:
    left, right = codes // num_rows, codes % num_rows
    graph = coo_array((np.ones(len(codes), np.int8), (left, right)), shape=(num_rows, num_rows))
    _, component = connected_components(graph, directed=False)
    first = np.unique(component, return_index=True)[1]
    labels: Indices = first[component].astype(np.int64)
    return labels


def _portions(weights: Indices, limit: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges whose weights sum to about `limit`, at least one element each."""
    ends = np.cumsum(weights)
    start = 0
    while start < len(weights):
        done = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, done + limit, side="right")))
        yield start, end
        start = end


def _is_in(queries: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    places = np.searchsorted(keys, queries)
    places[places == len(keys)] = 0
    found: npt.NDArray[np.bool_] = keys[places] == queries
    return found
