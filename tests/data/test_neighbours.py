"""Near pairs and clusters, against brute force."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from stoker.data.rows import Row
from stoker.data.sealing.neighbours import best_match, find_clusters, near_pairs, pair_similarity
from stoker.data.sealing.shingles import EMPTY_HASHES, ShingleBuilder, ShingleSets, find_boilerplate


def sets_of(texts: list[str]) -> ShingleSets:
    builder = ShingleBuilder()
    for text in texts:
        builder.add(Row.from_content(1, text=text))
    return builder.finish()[0]


def brute_force(left: ShingleSets, right: ShingleSets, similarity: float) -> set[tuple[int, int]]:
    ours = [set(part.tolist()) for part in np.split(left.flat, left.offsets[1:-1])]
    theirs = [set(part.tolist()) for part in np.split(right.flat, right.offsets[1:-1])]
    return {
        (i, j)
        for i, j in itertools.product(range(len(ours)), range(len(theirs)))
        if ours[i] and theirs[j] and len(ours[i] & theirs[j]) / len(ours[i] | theirs[j]) >= similarity
    }


def perturbed_texts(seed: int, num_texts: int = 150) -> list[str]:
    chooser = random.Random(seed)
    words = [f"w{i}" for i in range(300)]
    texts: list[list[str]] = []
    for _ in range(num_texts):
        if texts and chooser.random() < 0.6:
            text = list(chooser.choice(texts))
            for _ in range(chooser.randrange(4)):
                text[chooser.randrange(len(text))] = chooser.choice(words)
        else:
            text = chooser.choices(words, k=chooser.choice([1, 2, 5, 20, 60]))
        texts.append(text)
    return [" ".join(text) for text in texts]


@pytest.mark.parametrize("similarity", [0.3, 0.7, 1.0])
def test_the_join_misses_no_pair_and_invents_none(similarity: float) -> None:
    left, right = sets_of(perturbed_texts(1)), sets_of(perturbed_texts(1)[50:] + perturbed_texts(2))
    rows, columns, scores = near_pairs(left, right, EMPTY_HASHES, similarity)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == brute_force(left, right, similarity)
    assert (scores >= similarity).all() and (scores <= 1).all()


def test_an_empty_side_has_no_pairs() -> None:
    some, none = sets_of(["a b c d"]), sets_of([])
    for left, right in ((some, none), (none, some), (none, none)):
        assert len(near_pairs(left, right, EMPTY_HASHES, 0.7)[0]) == 0
    assert len(find_clusters(none, EMPTY_HASHES, 0.7)) == 0


def test_the_best_match_is_the_nearest_row() -> None:
    left = sets_of(["a b c d e f g h i j k l"])
    right = sets_of(["x y z", "a b c d e f g h i j k z", "a b c d e f g h i j k l", "a b c d e f g h i j k l"])
    rows, columns, scores = best_match(left, right, EMPTY_HASHES, 0.7)
    assert (rows.tolist(), columns.tolist(), scores.tolist()) == ([0], [2], [1.0])


def test_pair_similarity_is_the_true_one() -> None:
    sets = sets_of(["a b c d", "b c d e", "x y", "a b c d"])
    left, right = np.array([0, 0, 0, 1]), np.array([1, 2, 3, 0])
    assert pair_similarity(sets, left, right).tolist() == [1 / 3, 0.0, 1.0, 1 / 3]


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_the_connected_near_pairs(seed: int) -> None:
    texts = perturbed_texts(seed, 400)
    sets = sets_of(texts)
    found = find_clusters(sets, EMPTY_HASHES, 0.7)
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        return i if parent[i] == i else root(parent[i])

    for i, j in brute_force(sets, sets, 0.7):
        parent[max(root(i), root(j))] = min(root(i), root(j))
    expected = [root(i) for i in range(len(texts))]
    assert len(set(found.tolist())) == len(set(expected))
    assert len(set(zip(found.tolist(), expected, strict=True))) == len(set(expected))
    assert found[0] == 0 and found.max() == len(set(expected)) - 1


def test_templates_do_not_collapse_into_one_cluster() -> None:
    chooser = random.Random(0)
    template = " ".join(f"instruction{i}" for i in range(150))
    texts = [f"{template} {' '.join(chooser.choices('abcdefghijklmnop', k=20))} {template[::-1]}" for _ in range(300)]
    sets = sets_of(texts)
    assert len(np.unique(find_clusters(sets, EMPTY_HASHES, 0.7))) == 1
    boilerplate = find_boilerplate(sets, 0.2)
    assert len(np.unique(find_clusters(sets, boilerplate, 0.7))) == 300


def test_rows_of_nothing_but_boilerplate_are_compared_whole() -> None:
    texts = ["all of this is a template yes"] * 1 + ["all of this is a template yes indeed"] * 1
    sets = sets_of(texts)
    assert len(near_pairs(sets.take(np.array([0])), sets.take(np.array([1])), np.sort(sets.flat), 0.7)[0]) == 1


def test_a_great_many_copies_do_not_become_a_square() -> None:
    texts = [" ".join(f"w{j}" for j in range(60)) + f" {i}" for i in range(8000)]
    assert find_clusters(sets_of(texts), EMPTY_HASHES, 0.7).max() == 0
