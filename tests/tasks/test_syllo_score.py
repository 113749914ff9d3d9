"""Marks: right answers whole, each kind of slip in its own mark, hostile answers without a crash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import DataError
from stoker.tasks.syllo.score import MAX_ANSWER_CHARACTERS, score_answer

META = {"words": ["garden", "potato"], "blanks": [2, 3], "bank": ["po", "ta", "gar", "to", "den", "pot", "a"]}
GOLD = "1. gar den\n2. po ta to"
WHOLE = {"format": 1.0, "words": 1.0, "tiles": 1.0, "puzzle": 1.0}


def test_the_gold_answer_has_every_mark():
    assert score_answer(META, GOLD) == WHOLE


def test_another_segmentation_from_the_bank_is_right():
    assert score_answer(META, "1. gar den\n2. pot a to") == WHOLE


def test_the_order_of_lines_and_blank_lines_do_not_matter():
    assert score_answer(META, "\n2. po ta to\n\n1. gar den \n") == WHOLE


def test_a_wrong_word_costs_its_share_of_words_alone():
    marks = score_answer(META, "1. gar den\n2. pot ta to")
    assert marks == {"format": 1.0, "words": 0.5, "tiles": 1.0, "puzzle": 0.0}


def test_a_tile_outside_the_bank_costs_tiles():
    marks = score_answer(META, "1. gard en\n2. po ta to")
    assert marks == {"format": 1.0, "words": 1.0, "tiles": pytest.approx(3 / 5), "puzzle": 0.0}


def test_a_tile_used_more_often_than_the_bank_holds_it_costs_tiles():
    assert score_answer(META, "1. gar gar\n2. po ta to")["tiles"] == pytest.approx(4 / 5)


def test_a_syllable_that_the_bank_holds_twice_may_be_used_twice():
    meta = {"words": ["cocoa", "tempo"], "blanks": [2, 2], "bank": ["co", "co", "a", "tem", "po"]}
    assert score_answer({**meta, "words": ["coco", "tempo"]}, "1. co co\n2. tem po") == WHOLE


def test_swapped_clue_numbers_are_wrong_words():
    assert score_answer(META, "1. po ta to\n2. gar den")["words"] == 0.0


def test_a_wrong_number_of_blanks_costs_format():
    meta = {**META, "bank": [*META["bank"], "garden"]}
    assert score_answer(meta, "1. garden\n2. po ta to") == {"format": 0.5, "words": 1.0, "tiles": 1.0, "puzzle": 0.0}


def test_extra_text_costs_format_but_not_words():
    marks = score_answer(META, f"Here you are:\n{GOLD}\nGood luck!")
    assert marks == {"format": 0.5, "words": 1.0, "tiles": 1.0, "puzzle": 0.0}


@pytest.mark.parametrize(
    "answer",
    ["1) gar den\n2) po ta to", "1. Gar-den\n2. PO-TA-TO", "1. gar-den\n2. po-ta-to", "- 1. gar den\n- 2. po ta to"],
)
def test_another_notation_costs_format_but_not_words(answer):
    assert score_answer(META, answer) == {"format": 0.0, "words": 1.0, "tiles": 1.0, "puzzle": 0.0}


def test_only_the_first_line_of_a_number_counts():
    marks = score_answer(META, "1. po ta\n1. gar den\n2. po ta to")
    assert marks["words"] == 0.5
    assert marks["format"] == pytest.approx(2 / 3)
    assert marks["puzzle"] == 0.0


def test_an_answer_in_one_line_is_not_whole():
    assert score_answer(META, "1. gar den 2. po ta to")["puzzle"] == 0.0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n\n\t",
        "no idea",
        "0. gar den",
        "99. gar den",
        "1.",
        "1. ",
        "1. -",
        "١. gar den",
        "\0",
        "\ud800",
    ],
)
def test_an_answer_without_content_has_no_marks_for_words(answer):
    marks = score_answer(META, answer)
    assert marks["format"] == marks["words"] == marks["puzzle"] == 0.0


def test_a_huge_answer_is_read_to_a_limit_and_is_never_whole():
    huge = GOLD + "\n" + "1. gar den\n" * 200_000
    assert score_answer(META, huge)["puzzle"] == 0.0
    assert score_answer(META, GOLD + " " * MAX_ANSWER_CHARACTERS) == {**WHOLE, "format": 0.0, "puzzle": 0.0}


@given(st.text(max_size=300) | st.text(alphabet="12. -\ngardenpoto|", max_size=80))
def test_any_answer_has_marks_between_0_and_1(answer):
    marks = score_answer(META, answer)
    assert set(marks) == {"format", "words", "tiles", "puzzle"}
    assert all(0.0 <= mark <= 1.0 for mark in marks.values())
    assert marks["puzzle"] == float(all(marks[name] == 1.0 for name in ("format", "words", "tiles")))


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"words": ["a"]},
        {**META, "blanks": [2]},
        {**META, "words": "garden"},
        {"words": [], "blanks": [], "bank": []},
    ],
)
def test_an_item_that_is_not_whole_is_refused(meta):
    with pytest.raises(DataError, match="meta is not whole"):
        score_answer(meta, GOLD)
