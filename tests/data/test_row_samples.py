"""A few rows of a dataset to look at."""

from __future__ import annotations

import pytest
from small_lab import SmallLab

from stoker.data.dataset import Dataset
from stoker.data.sample import rows_of_lines, spread_rows
from stoker.data.visible import visible
from stoker.errors import NotFound


@pytest.fixture
def dataset(lab: SmallLab) -> Dataset:
    rows = [{"question": f"What is {n * 7919}?", "answer": f"It is {n * 31}."} for n in range(60)]
    return lab.take_rows([*rows, rows[3], {"question": "no answer?", "answer": ""}])


@pytest.mark.parametrize("num", [1, 2, 7, 44, 500])
def test_samples_are_trained_rows_from_the_first_to_the_last(dataset: Dataset, num: int) -> None:
    trained = [row.line for row in dataset.train_rows()]
    lines = [one.row.line for one in spread_rows(dataset, num)]
    assert len(lines) == len(set(lines)) == min(num, len(trained))
    assert lines == sorted(lines) and set(lines) <= set(trained) and lines[0] == trained[0]
    assert num == 1 or lines[-1] == trained[-1]


def test_preference_rows_are_sampled_where_there_are_no_others(lab: SmallLab) -> None:
    rows = [{"prompt": f"Question {n * 7919}?", "chosen": f"yes {n}", "rejected": "no"} for n in range(40)]
    assert {one.row.kind for one in spread_rows(lab.take_rows(rows), 5)} == {"preference"}


def test_a_line_gives_its_row_and_its_side(dataset: Dataset) -> None:
    sealed = dataset.heldout_rows()[0].line
    trained = dataset.train_rows()[0].line
    assert {(one.row.line, one.side) for one in rows_of_lines(dataset, [trained, sealed])} == {
        (trained, "train"), (sealed, "held_out"),
    }  # fmt: skip


def test_a_line_without_a_row_says_what_became_of_it(dataset: Dataset) -> None:
    with pytest.raises(NotFound, match=r"line 61 of rows.jsonl is duplicate.*the same row is on line 4"):
        rows_of_lines(dataset, [1, 61])
    with pytest.raises(NotFound, match=r"line 62 of rows.jsonl is quarantined.*empty-answer"):
        rows_of_lines(dataset, [62])
    with pytest.raises(NotFound, match=r"no row that begins on line 900; it has 62 rows"):
        rows_of_lines(dataset, [900])


def test_what_would_steer_a_terminal_or_turn_words_around_is_shown_as_its_number() -> None:
    assert visible("a\x1b[31mb\rc\u202egnp\x9bx") == "a<U+001B>[31mb<U+000D>c<U+202E>gnp<U+009B>x"
    plain = "Zeile 1\n\tZwei: ä漢字🙂 <b>"
    assert visible(plain) == plain
