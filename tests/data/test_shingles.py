"""Rows as sets of shingles."""

from __future__ import annotations

import numpy as np

from stoker.data.rows import Row
from stoker.data.sealing.shingles import ShingleBuilder, ShingleSets, find_boilerplate
from stoker.data.sealing.words import words_of


def sets_of(*texts: str) -> ShingleSets:
    builder = ShingleBuilder()
    for text in texts:
        builder.add(Row.from_content(1, text=text))
    return builder.finish()[0]


def chat(prompt: str, answer: str, system: str | None = None) -> Row:
    head = [{"role": "system", "content": system}] if system else []
    return Row.from_content(1, [*head, {"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])


def test_case_punctuation_and_spacing_do_not_count() -> None:
    sets = sets_of(
        "Hello, brave  new World!",
        "hello brave new world",
        "Hello\u2019s brave new World",
        "ＨＥＬＬＯ brave new world",
    )
    same = sets.take(np.array([0])).flat
    assert np.array_equal(sets.take(np.array([1])).flat, same) and np.array_equal(sets.take(np.array([3])).flat, same)
    assert not np.array_equal(sets.take(np.array([2])).flat, same)


def test_ascii_and_other_texts_are_cut_into_the_same_words() -> None:
    text = "It's a well_known fact: 3.5 > 2"
    assert words_of(text) == [*words_of(text + "é")[:-1], "2"]


def test_scripts_without_spaces_are_cut_into_characters() -> None:
    assert words_of("今日は good 天気") == ["今", "日", "は", "good", "天", "気"]
    assert words_of("สวัสดี")[0] == "ส"


def test_short_texts_have_a_shingle_too() -> None:
    sets = sets_of("hi", "hi there", "?!", "", "one two three", "...", "hi")
    assert list(sets.sizes) == [1, 1, 1, 0, 1, 1, 1]
    assert len(np.unique(sets.flat)) == 5


def test_sets_do_not_depend_on_what_stands_around_them() -> None:
    texts = [f"row {i} with words number {i * 7} and {i % 5}" for i in range(10_000)]
    together = sets_of(*texts)
    for i in (0, 4095, 4096, 9999):
        assert np.array_equal(together.take(np.array([i])).flat, sets_of(texts[i]).flat)


def test_prompts_are_sets_of_their_own() -> None:
    builder = ShingleBuilder()
    for row in (
        chat("one two three four", "five"),
        chat("one two", "three four"),
        Row.from_content(1, text="one two three"),
    ):
        builder.add(row)
    whole, prompts = builder.finish()
    assert list(whole.sizes) == [3, 2, 1] and list(prompts.sizes) == [2, 1, 0]
    assert np.array_equal(prompts.take(np.array([0])).flat, sets_of("one two three four").flat)
    assert np.array_equal(prompts.take(np.array([1])).flat, sets_of("one two").flat)


def test_tool_calls_are_words_of_a_row() -> None:
    def row(city: str) -> Row:
        call = {"type": "function", "function": {"name": "weather", "arguments": {"city": city}}}
        turn = {"role": "assistant", "content": "", "tool_calls": [call]}
        return Row.from_content(1, [{"role": "user", "content": "what is the weather"}, turn])

    builder = ShingleBuilder()
    builder.add(row("Paris"))
    builder.add(row("Rome"))
    whole, _ = builder.finish()
    assert not np.array_equal(whole.take(np.array([0])).flat, whole.take(np.array([1])).flat)


def test_boilerplate_is_what_many_rows_share_in_a_file_with_enough_rows() -> None:
    texts = [f"follow these instructions with care item{i} value{i} end{i}" for i in range(40)]
    boilerplate = find_boilerplate(sets_of(*texts), 0.2)
    assert np.array_equal(boilerplate, sets_of("follow these instructions with care").flat)
    assert len(find_boilerplate(sets_of(*texts[:19]), 0.2)) == 0


def test_repeated_system_prompts_are_boilerplate() -> None:
    texts = [f"row number{i} has some own words{i}" for i in range(30)]
    boilerplate = find_boilerplate(sets_of(*texts), 0.2, ["you are a pirate captain"])
    assert set(sets_of("you are a pirate captain").flat) <= set(boilerplate)


def test_hashes_are_fixed_for_ever() -> None:
    assert sets_of("the quick brown fox", "hi").flat.tolist() == [1192114301, 1883079422, 4149825863]
