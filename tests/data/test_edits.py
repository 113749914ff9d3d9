"""Rows a word apart are found however short they are; rows that single words tell apart are not merged."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from small_lab import SmallLab

from stoker.data.rows import Row
from stoker.data.sealing.edits import FAMILY_ROWS, MAX_WORDS, keys_of
from stoker.data.sealing.shingles import row_words
from stoker.data.sealing.words import squeezed, words_of

WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "nrslt"]


def row(text: str, answer: str = "", system: str = "") -> Row:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return Row.from_content(1, [{"role": "system", "content": system}, *messages] if system else messages)


def are_near(one: Row, other: Row, **settings: Any) -> bool:
    return len(keys_of([one], **settings).matches(keys_of([other], **settings))[0]) > 0


def edits_of(words: list[str]) -> list[list[str]]:
    """Return every way to change, add or drop one word."""
    changed = [[*words[:i], "other", *words[i + 1 :]] for i in range(len(words))]
    added = [[*words[:i], "another", *words[i:]] for i in range(len(words) + 1)]
    return [*changed, *added, *([*words[:i], *words[i + 1 :]] for i in range(len(words)))]


@pytest.mark.parametrize("num_words", [5, 6, 8, 10, 19, MAX_WORDS - 1])
def test_one_word_changed_added_or_dropped_is_near_at_every_place(num_words: int) -> None:
    words = random.Random(num_words).sample(WORDS, num_words)
    original = row(" ".join(words[:-2]), " ".join(words[-2:]))
    edited = [row(" ".join(edit[:-2]), " ".join(edit[-2:])) for edit in edits_of(words)]
    assert [one for one in edited if not are_near(original, one)] == []
    assert not are_near(original, row(" ".join(["x", "y", *words[2:-2]]), " ".join(words[-2:])))


@pytest.mark.parametrize(
    "copy",
    [
        "THE OLD LAMP said: nothing, at all!",
        "the  old\tlamp\n\nsaid nothing at all",
        "theoldlampsaidnothingatall",
        "the old la mp said noth ing at all",
        "the old lamp said\u200b nothing at all",
    ],
)
def test_case_spacing_and_punctuation_do_not_hide_a_row(copy: str) -> None:
    original = row("The old lamp said", "nothing at all.")
    middle = len(copy) // 2
    assert are_near(original, row(copy, "")) and are_near(original, row(copy[:middle], copy[middle:]))


def test_numbers_side_by_side_stay_apart() -> None:
    assert not are_near(row("add 12 and 3 7", "x 1 2"), row("add 1 and 23 7", "x 1 2"))


def test_a_system_prompt_does_not_hide_a_row() -> None:
    long = " ".join(f"rule{i}" for i in range(200))
    assert are_near(row("the old lamp said nothing", "at all", long), row("the new lamp said nothing", "at all"))


def test_very_short_rows_are_near_only_when_they_are_equal() -> None:
    assert not are_near(row("the dog", "le chien"), row("the cat", "le chien"))
    assert are_near(row("the dog", "le chien"), row("The dog:", "Le chien."))


def test_a_prompt_with_another_number_is_another_question() -> None:
    one, other = row("how much is 12 and 7 in all"), row("how much is 12 and 8 in all")
    assert are_near(one, other) and not are_near(one, other, prompts_alone=True)
    assert are_near(one, row("how much are 12 and 7 in all"), prompts_alone=True)


def test_rows_that_single_words_tell_apart_are_a_family() -> None:
    rows = [row(f"is the number {n} a prime", "yes") for n in range(FAMILY_ROWS + 1)]
    keys = keys_of(rows)
    assert len(np.unique(keys.components(len(rows)))) == len(rows)
    assert len(keys.matches(keys_of([row("is the number 1000 a prime", "yes")]))[0]) == 0
    assert len(keys.matches(keys_of([row("Is the number 7 a prime?", "Yes.")]))[0]) == 1
    few = keys_of(rows[:FAMILY_ROWS])
    assert len(np.unique(few.components(FAMILY_ROWS))) == 1


def short_rows(num: int, seed: int) -> list[dict[str, str]]:
    draw = random.Random(seed)
    return [
        {"prompt": " ".join(draw.sample(WORDS, 5)), "completion": " ".join(draw.sample(WORDS, 2))} for _ in range(num)
    ]


def test_short_rows_a_word_from_a_sealed_one_do_not_train(lab: SmallLab) -> None:
    first = lab.take_rows(short_rows(200, 1), "first.jsonl")
    sealed = [
        (found.line, [*found.prompt_messages()[0]["content"].split(), *found.answer().split()])
        for found in first.heldout_rows()
    ]
    edited = [(line, edit) for line, words in sealed for edit in edits_of(words)]
    rows = [{"question": " ".join(edit[:-2]).upper(), "answer": " ".join(edit[-2:])} for _, edit in edited]
    second = lab.take_rows([*rows, *short_rows(100, 2)], "second.jsonl")
    assert second.summary["reasons"]["near-sealed"] >= len(rows) > 300
    assert {found.line for found in second.train_rows()}.isdisjoint(range(1, len(rows) + 1))
    reason = next(second.ledger())["reason"]
    assert reason == f"within a word of the sealed row first.jsonl:{sealed[0][0]}"


def test_rows_a_word_apart_are_on_one_side_of_a_file(lab: SmallLab) -> None:
    rows = short_rows(200, 3)
    twins = [{**one, "prompt": "other " + one["prompt"].split(" ", 1)[1]} for one in rows]
    found = lab.take_rows([*rows, *twins])
    assert found.summary["num_clusters"] == 200
    assert {one.line % 200 for one in found.train_rows()}.isdisjoint(
        one.line % 200 for one in found.heldout_rows(representatives_only=False)
    )


def test_a_row_a_word_from_an_earlier_trained_one_is_never_sealed(lab: SmallLab) -> None:
    first = lab.take_rows(short_rows(200, 4))
    trained = [
        {"prompt": "other " + one.prompt_messages()[0]["content"].split(" ", 1)[1], "completion": one.answer()}
        for one in first.train_rows()
    ]
    assert lab.take_rows(trained).summary["held_out"] == 0


def reference_keys(rows: list[Row], *, prompts_alone: bool = False) -> list[tuple[int, int]]:
    """Return the last keys and word sequences' sizes one row at a time, from its words."""
    found = []
    for number, one in enumerate(rows):
        prompt, answer = row_words(one)
        system = words_of(str(one.messages[0]["content"])) if one.messages and len(one.messages) == 3 else []
        words = [*prompt[len(system) :], *(() if prompts_alone else answer)]
        text = "".join(word if word.isalpha() or len(words) > MAX_WORDS else f" {word} " for word in words)
        found.append((xxhash.xxh3_64_intdigest(text.encode(), 0x165667B19E3779F9), number))
    return found


PIECES = st.lists(
    st.sampled_from(["lamp", "Old", "12", "7", "é’s", "天気", "x2", "?!", "...", "_", "²", "a-b"]), max_size=6
)


@given(st.lists(st.tuples(PIECES, PIECES, PIECES, st.integers(1, 14)), min_size=1, max_size=6), st.booleans())
def test_spaceless_keys_are_those_of_the_words(drawn: list[Any], prompts_alone: bool) -> None:
    rows = [
        row(" ".join(asked * times) or "ask", " ".join(answered) or "say", " ".join(system))
        for system, asked, answered, times in drawn
    ]
    keys = keys_of(rows, prompts_alone=prompts_alone)
    kept = set(zip(keys.keys.tolist(), keys.rows.tolist(), strict=True))
    odd = {i for i, one in enumerate(rows) for text in [m["content"] for m in one.messages or ()] if not squeezed(text)}
    assert {pair for pair in reference_keys(rows, prompts_alone=prompts_alone) if pair[1] not in odd} <= kept
