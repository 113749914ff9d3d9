"""Leaks planted in a later file are found and do not train; fresh rows do. With --corpus at full size, several seeds."""

from __future__ import annotations

import planted
import pytest
from small_lab import SmallLab


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "num_rows" in metafunc.fixturenames:
        is_full = metafunc.config.getoption("--corpus", False)
        metafunc.parametrize(("num_rows", "seed"), [(4000, 1), (4000, 2)] if is_full else [(400, 1)])


@pytest.mark.parametrize("in_benchmark", [False, True], ids=["sealed", "benchmark"])
@pytest.mark.parametrize("kind", planted.MAKERS)
def test_planted_leaks_do_not_train(lab: SmallLab, kind: str, in_benchmark: bool, num_rows: int, seed: int) -> None:
    outcome = planted.plant(lab, planted.MAKERS[kind], num_rows, seed, in_benchmark=in_benchmark)
    assert sum(number for number, _ in outcome.exact.values()) >= 100
    assert outcome.share_of_exact() >= 0.99, outcome.exact
    found, of = outcome.found(lab.split.similarity)
    assert of >= 10 and found >= 0.95 * of
    one_word = outcome.near["one word changed"]
    assert sum(is_found for _, is_found in one_word) >= 0.95 * len(one_word)
    assert outcome.num_fresh_lost <= 0.01 * outcome.num_fresh


def test_similarity_is_that_of_word_triples() -> None:
    one, other = planted.question("a b c d e", "f"), planted.question("a b c d x", "f")
    assert planted.similarity(one, one) == 1 and planted.similarity(one, other) == 2 / 6
