"""Which side each row of a new file is on: trained, held out, duplicate or quarantined.

The invariant: no trained row of any file, at any time, is near a sealed row of any file. It holds because three exact
joins stand around the choice: new rows against earlier sealed rows, clusters to be sealed against earlier trained
rows, and this file's trained rows against its own sealed ones. Clusters are sealed in the order of a hash of their
smallest row id, so neither the order of files nor a seed has a say.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stoker.data.benchmarks import Benchmark
from stoker.data.sealing.edits import connected, keys_of
from stoker.data.sealing.index import Index, IndexContent, lookup
from stoker.data.sealing.neighbours import best_match, best_prompt_match, find_clusters
from stoker.data.sealing.shingles import Hashes, Indices, ShingleBuilder, find_boilerplate
from stoker.spec.lab import SplitSpec

SEAL_CONSTANT = b"stoker sealed split 1\n"
LARGE_CLUSTER_SHARE = 0.01
MIN_LARGE_CLUSTER = 5


class Side(enum.IntEnum):
    OPEN = 0
    TRAINED = 1
    SEALED = 2
    NEAR_SEALED = 3
    DUPLICATE = 4
    QUARANTINED = 5
    SEALED_COPY = 6


HELD_OUT = (Side.SEALED, Side.NEAR_SEALED, Side.SEALED_COPY)


@dataclass
class Split:
    """The outcome, row for row of the content given. `clusters` is -1 for a row that took no part."""

    side: npt.NDArray[np.int8]
    clusters: Indices
    reasons: dict[int, tuple[str, str]] = field(default_factory=dict)
    num_clusters: int = 0
    sealed_clusters: list[int] = field(default_factory=list)
    too_small: bool = False
    notes: list[str] = field(default_factory=list)

    def rows(self, *sides: Side) -> Indices:
        return np.flatnonzero(np.isin(self.side, sides))

    def put(self, row: int, side: Side, code: str, reason: str) -> None:
        self.side[row] = side
        self.reasons[row] = (code, reason)


def split_rows(
    content: IndexContent, earlier: Sequence[Index], benchmarks: Sequence[Benchmark], spec: SplitSpec
) -> Split:
    """Decide the side of every row of one file; rows are unique within it."""
    num_rows = len(content.ids)
    split = Split(np.zeros(num_rows, np.int8), np.full(num_rows, -1, np.int64))
    _find_copies(split, content, earlier)
    for benchmark in benchmarks:
        _find_benchmark_overlap(split, content, benchmark, spec)
    _find_near_sealed(split, content, earlier, spec)
    taking_part = split.rows(Side.OPEN, Side.NEAR_SEALED)
    found = _clusters(content, taking_part, spec)
    split.clusters[taking_part] = found
    split.num_clusters = int(found.max(initial=-1)) + 1
    _extend_sealed_clusters(split, content, earlier, spec)
    _seal(split, content, earlier, spec)
    _guard_sealed(split, content, spec)
    split.side[split.side == Side.OPEN] = Side.TRAINED
    return split


def _clusters(content: IndexContent, rows: Indices, spec: SplitSpec) -> Indices:
    """Return the cluster of each of `rows`, numbered from 0 in order of first appearance: what triples or a word link."""
    near = find_clusters(content.whole.take(rows), content.boilerplate, spec.similarity)
    first_of_cluster = np.unique(near, return_index=True)[1]
    apart = content.edits.take(rows, len(content.ids)).components(len(rows))
    both_ways = np.concatenate((first_of_cluster[near], apart))
    labels = connected(np.tile(np.arange(len(rows), dtype=np.int64), 2), both_ways, len(rows))
    numbered: Indices = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return numbered


def _find_copies(split: Split, content: IndexContent, earlier: Sequence[Index]) -> None:
    for index in earlier:
        for row, line in lookup(content.ids, index.held_out()):
            if split.side[row] == Side.OPEN:
                split.put(row, Side.SEALED_COPY, "sealed-copy", f"the same row is held out at {index.name}:{line}")
    for index in earlier:
        if index.is_rolled_back:
            continue
        for row, line in lookup(content.ids, index.trained()):
            if split.side[row] == Side.OPEN:
                split.put(row, Side.DUPLICATE, "duplicate-of-earlier", f"the same row is at {index.name}:{line}")


def _find_benchmark_overlap(split: Split, content: IndexContent, benchmark: Benchmark, spec: SplitSpec) -> None:
    builder = ShingleBuilder()
    for item in benchmark.items:
        builder.add(item.row)
    whole, prompts = builder.finish()
    for match, ours, theirs, own in (
        (best_match, content.whole, whole, content.boilerplate),
        (best_prompt_match, content.prompts, prompts, content.prompt_boilerplate),
    ):
        rows = split.rows(Side.OPEN)
        boilerplate = both(own, find_boilerplate(theirs, spec.boilerplate_share))
        near, items, scores = match(ours.take(rows), theirs, boilerplate, spec.similarity)
        for row, item, score in zip(rows[near], items, scores, strict=True):
            part = "prompt" if match is best_prompt_match else "row"
            reason = f"its {part} is near item {benchmark.items[item].id} of {benchmark.name} (similarity {score:.2f})"
            split.put(int(row), Side.QUARANTINED, "benchmark-overlap", reason)
    rows_of_items = [item.row for item in benchmark.items]
    for part, keys, theirs_keys in (
        ("row", content.edits, keys_of(rows_of_items)),
        ("prompt", content.prompt_edits, keys_of(rows_of_items, prompts_alone=True)),
    ):
        for row, item in zip(*keys.matches(theirs_keys), strict=True):
            if split.side[row] == Side.OPEN:
                reason = f"its {part} is within a word of item {benchmark.items[item].id} of {benchmark.name}"
                split.put(int(row), Side.QUARANTINED, "benchmark-overlap", reason)


def _find_near_sealed(split: Split, content: IndexContent, earlier: Sequence[Index], spec: SplitSpec) -> None:
    for index in earlier:
        rows = split.rows(Side.OPEN)
        boilerplate = both(content.boilerplate, index.boilerplate)
        near, theirs, scores = best_match(content.whole.take(rows), index.sealed_sets(), boilerplate, spec.similarity)
        lines = index.sealed().lines[theirs]
        for row, line, score in zip(rows[near], lines, scores, strict=True):
            reason = f"near the sealed row {index.name}:{line} (similarity {score:.2f})"
            split.put(int(row), Side.NEAR_SEALED, "near-sealed", reason)
        for row, place in zip(*content.edits.matches(index.sealed_edits()), strict=True):
            if split.side[row] == Side.OPEN:
                reason = f"within a word of the sealed row {index.name}:{index.sealed().lines[place]}"
                split.put(int(row), Side.NEAR_SEALED, "near-sealed", reason)


def _extend_sealed_clusters(split: Split, content: IndexContent, earlier: Sequence[Index], spec: SplitSpec) -> None:
    """Hold out the rest of a cluster that reaches an earlier sealed row, unless it reaches a trained one too.

    A large cluster is spared: losing a hundredth of a file to one sealed row would be worse than a distant relation.
    """
    touched = np.unique(split.clusters[split.rows(Side.NEAR_SEALED)])
    touched = touched[_cluster_sizes(split)[touched] < _large_cluster(len(split.side))]
    rows = np.flatnonzero(np.isin(split.clusters, touched) & (split.side == Side.OPEN))
    if len(rows) == 0:
        return
    members = np.flatnonzero(np.isin(split.clusters, touched))
    trained = np.unique(split.clusters[_near_trained(content, members, earlier, spec)])
    for row in rows[~np.isin(split.clusters[rows], trained)]:
        split.put(int(row), Side.NEAR_SEALED, "near-sealed", "in one cluster with rows near a sealed row")


def _seal(split: Split, content: IndexContent, earlier: Sequence[Index], spec: SplitSpec) -> None:
    """Seal the clusters of lowest hash among those that no earlier row, trained or sealed, is near."""
    touched = np.unique(split.clusters[split.rows(Side.NEAR_SEALED)])
    free = np.setdiff1d(np.arange(split.num_clusters), touched, assume_unique=True)
    if len(free) < 2 * spec.min_clusters:
        split.too_small = True
        split.notes.append(
            f"nothing is sealed: {len(free)} clusters of rows, and sealing {spec.min_clusters} (split.min_clusters) "
            f"needs {2 * spec.min_clusters}; this file alone can't prove that a version is better"
        )
        return
    wanted = min(max(round(spec.fraction * len(free)), spec.min_clusters), spec.max_clusters)
    order = _by_hash(split, content, free)
    place = 0
    while len(split.sealed_clusters) < wanted and place < len(order):
        missing = wanted - len(split.sealed_clusters)
        batch = order[place : place + 2 * missing + 16]
        place += len(batch)
        rows = np.flatnonzero(np.isin(split.clusters, batch))
        taken = split.clusters[_near_trained(content, rows, earlier, spec)]
        split.sealed_clusters += [int(cluster) for cluster in batch[~np.isin(batch, taken)][:missing]]
    for row in np.flatnonzero(np.isin(split.clusters, split.sealed_clusters)):
        split.put(int(row), Side.SEALED, "sealed", "in a sealed cluster")
    if len(split.sealed_clusters) < wanted:
        split.notes.append(
            f"{len(split.sealed_clusters)} clusters are sealed, {wanted} were wanted: the rest are near trained rows"
        )


def _guard_sealed(split: Split, content: IndexContent, spec: SplitSpec) -> None:
    """Hold out rows near a sealed row of this file that MinHash left outside its cluster."""
    sealed, rows = split.rows(Side.SEALED), split.rows(Side.OPEN)
    if len(sealed) == 0:
        return
    near, theirs, scores = best_match(
        content.whole.take(rows), content.whole.take(sealed), content.boilerplate, spec.similarity
    )
    for row, line, score in zip(rows[near], content.lines[sealed[theirs]], scores, strict=True):
        reason = f"near the sealed row on line {line} of this file (similarity {score:.2f})"
        split.put(int(row), Side.NEAR_SEALED, "near-sealed", reason)


def _near_trained(content: IndexContent, rows: Indices, earlier: Sequence[Index], spec: SplitSpec) -> Indices:
    """Return those of `rows` that are near a trained row of an earlier dataset."""
    near: list[Indices] = []
    ours = content.whole.take(rows)
    for index in earlier:
        boilerplate = both(content.boilerplate, index.boilerplate)
        near.append(rows[best_match(ours, index.trained_sets(), boilerplate, spec.similarity)[0]])
        near.append(np.intersect1d(content.edits.matches(index.trained_edits())[0], rows))
    return np.unique(np.concatenate(near)) if near else np.zeros(0, np.int64)


def _by_hash(split: Split, content: IndexContent, clusters: Indices) -> Indices:
    rows = np.flatnonzero(split.clusters >= 0)
    smallest = np.full(split.num_clusters, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, split.clusters[rows], content.ids[rows])
    keys = [hashlib.sha256(SEAL_CONSTANT + b"%016x" % number).digest() for number in smallest[clusters].tolist()]
    return clusters[sorted(range(len(keys)), key=keys.__getitem__)]


def large_clusters(split: Split) -> list[tuple[int, int]]:
    """Return (cluster, rows) of clusters above a hundredth of the rows, the largest first."""
    sizes = _cluster_sizes(split)
    large = np.flatnonzero(sizes >= _large_cluster(len(split.side)))
    return [(int(cluster), int(sizes[cluster])) for cluster in large[np.argsort(-sizes[large], kind="stable")]]


def both(ours: Hashes, theirs: Hashes) -> Hashes:
    """Return the boilerplate of either file: what two rows of them are compared without."""
    return np.union1d(ours, theirs).astype(np.uint32)


def _cluster_sizes(split: Split) -> Indices:
    return np.bincount(split.clusters[split.clusters >= 0], minlength=split.num_clusters)


def _large_cluster(num_rows: int) -> float:
    return max(MIN_LARGE_CLUSTER + 1, LARGE_CLUSTER_SHARE * num_rows)
