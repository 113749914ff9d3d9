"""What a dataset's rows are like: exact numbers of rows that the tests know."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_lab import SmallLab

from stoker.data.statistics import describe, distribution, histogram


def test_lengths_turns_and_kinds_are_those_of_the_rows(lab: SmallLab) -> None:
    system = {"role": "system", "content": "Be brief."}
    turns = [{"role": "user", "content": "u" * 30}, {"role": "assistant", "content": "a" * 7}]
    rows = [{"messages": turns}, {"messages": [system, *turns, *turns]}, {"text": "plain words " * 9}]
    lab.intake = lab.intake.model_copy(update={"allow_unproven": True})
    found = describe(lab.take_rows(rows))
    assert (found["rows"], found["rows_read"], found["kinds"]) == (3, 3, {"chat": 2, "text": 1})
    assert found["turns"]["quantiles"] == {"min": 2, "p50": 4, "p90": 4, "p99": 4, "max": 4}
    assert found["turns"]["histogram"] == [[2, 2, 1], [3, 3, 0], [4, 4, 1]], "a system turn is no turn of the talk"
    assert found["prompt_characters"]["quantiles"]["max"] == 9 + 30 + 7 + 30
    assert found["answer_characters"]["quantiles"]["min"] == 7
    assert found["answer_characters"]["quantiles"]["max"] == 108
    assert found["labels"] is None


def test_both_answers_side_by_side_count_the_chosen_one(lab: SmallLab) -> None:
    rows = [{"prompt": f"Question {n * 7919}?", "chosen": "yes" * 10, "rejected": "no"} for n in range(40)]
    found = describe(lab.take_rows(rows))
    assert found["kinds"] == {"preference": 40}
    assert found["answer_characters"]["quantiles"]["p50"] == 30


def test_a_classification_file_has_its_labels_counted(lab: SmallLab) -> None:
    rows = [{"question": f"Is mail {n * 7919} spam?", "answer": " ham" if n % 4 else "spam "} for n in range(80)]
    assert describe(lab.take_rows(rows))["labels"] == [["ham", 60], ["spam", 20]]


def test_clusters_are_counted_by_how_many_rows_they_have(lab: SmallLab) -> None:
    far = [{"question": f"What is {n * 7919} and {n * 31}?", "answer": f"It is {n * 13}, says {n}."} for n in range(60)]
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    near = [{"question": f"Say these words again: {words}{end}", "answer": words} for end in ("", " x", " y")]
    clusters = describe(lab.take_rows([*far, *near]))["clusters"]
    assert clusters["clusters"] == 61 and clusters["near_duplicates"] == 2 and clusters["sealed"] == 16
    assert clusters["sizes"] == [[1, 1, 60], [2, 2, 0], [3, 4, 1]]


def test_of_many_rows_some_are_read_evenly_spaced_and_it_says_so(lab: SmallLab) -> None:
    rows = [{"question": f"What is {n * 7919}?", "answer": "a" * (n + 1)} for n in range(100)]
    found = describe(lab.take_rows(rows), max_rows=30)
    assert (found["rows"], found["rows_read"]) == (100, 25)
    assert found["answer_characters"]["quantiles"]["p50"] == pytest.approx(50, abs=10)
    assert found["clusters"]["clusters"] > 30, "clusters are counted whole"


def test_nothing_has_no_distribution() -> None:
    assert distribution([]) is None and histogram([]) == []


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_a_histogram_holds_every_value_once_in_few_bins_without_gaps(values: list[int]) -> None:
    bins = histogram(values)
    assert sum(number for _, _, number in bins) == len(values)
    assert bins[0][0] <= min(values) and bins[-1][1] == max(values)
    assert all(low <= high for low, high, _ in bins)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(bins))
    for low, high, number in bins:
        assert number == sum(low <= value <= high for value in values)
    assert len(bins) <= 36


def test_bins_are_single_values_equal_widths_or_ever_wider_ones() -> None:
    assert [one[:2] for one in histogram([1, 2, 2, 5])] == [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5]]
    even = histogram(range(100, 180))
    assert {high - low + 1 for low, high, _ in even} == {10}
    long_tail = [one[0] for one in histogram(np.geomspace(3, 19_000, 500).astype(int))]
    assert long_tail[:5] == [2, 5, 10, 20, 50] and long_tail[-1] == 10_000
