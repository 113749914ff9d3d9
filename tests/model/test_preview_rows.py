"""A preview shows the tokens of training: the same text, the same marks, and what would stop the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_styles import STOPS, STYLES, make_tokenizer

from stoker.data.rows import Content, Row
from stoker.model.encoded import Encoded
from stoker.model.load import load_tokenizer
from stoker.model.preview import MAX_CHARACTERS, preview_row
from stoker.model.segments import segments_of
from stoker.model.tokenizing import encode_row

QUESTION, ANSWER = {"role": "user", "content": "Who lives in\nAru?"}, {"role": "assistant", "content": "Seven people."}


def chat(*turns: dict[str, Any], line: int = 3) -> Row:
    return Row.from_content(line, turns)


def text_of(shown: dict[str, Any], *, trained: bool | None = None) -> str:
    return "".join(one["text"] for one in shown["segments"] if trained is None or one["trained"] is trained)


@pytest.mark.parametrize("style", STYLES)
def test_the_answer_and_its_stop_token_are_marked_and_the_prompt_is_not(style: str, tokenizers: dict[str, Any]) -> None:
    row, tokenizer = chat(QUESTION, ANSWER), tokenizers[style]
    shown = preview_row(row, tokenizer, 4096, "rows.jsonl")
    assert shown["problem"] is None and (shown["line"], shown["row"], shown["kind"]) == (3, row.id, "chat")
    trained = text_of(shown, trained=True)
    assert trained.strip().startswith("Seven people.") and trained.endswith(STOPS[style])
    assert "Who lives in\nAru?" in text_of(shown, trained=False) and "Seven" not in text_of(shown, trained=False)
    (encoded,) = encode_row(row, tokenizer)
    assert shown["sequences"] == [
        {"part": None, "num_tokens": len(encoded), "num_trained_tokens": int(encoded.trained.sum()), "fits": True}
    ]
    assert text_of(shown) == tokenizer.decode(encoded.ids.tolist(), clean_up_tokenization_spaces=False)


def test_segments_joined_are_the_whole_text_also_where_a_decoder_drops_the_first_space() -> None:
    tokenizer = make_tokenizer("plain", has_prefix_space=True)
    ids = tokenizer("seven people live in the house")["input_ids"]
    for place in range(1, len(ids)):
        trained = np.arange(len(ids)) >= place
        segments = segments_of(Encoded(np.array(ids), trained, "r", 1), tokenizer)
        assert "".join(text for text, _ in segments) == tokenizer.decode(ids)
        assert [is_trained for _, is_trained in segments] == [False, True]


def test_a_turn_of_weight_0_is_not_marked(tiny_base: Path) -> None:
    row = chat(
        QUESTION, {**ANSWER, "weight": 0}, {"role": "user", "content": "And now?"}, {**ANSWER, "content": "Eight."}
    )
    shown = preview_row(row, load_tokenizer(tiny_base), 4096, "rows.jsonl")
    assert "Eight." in text_of(shown, trained=True) and "Seven" in text_of(shown, trained=False)
    assert "Seven" not in text_of(shown, trained=True)


def test_a_pair_shows_both_answers_and_trains_nothing_before_them(tiny_base: Path) -> None:
    before = (QUESTION, ANSWER, {"role": "user", "content": "Sure?"})
    good, bad = ({"role": "assistant", "content": words} for words in ("Quite sure.", "No idea."))
    row = Row.of(5, Content(before, chosen=(good,), rejected=(bad,)))
    shown = preview_row(row, load_tokenizer(tiny_base), 4096, "rows.jsonl")
    assert [one["part"] for one in shown["sequences"]] == ["chosen", "rejected"] and shown["problem"] is None
    for number, words in ((0, "Quite sure."), (1, "No idea.")):
        trained = [one["text"] for one in shown["segments"] if one["sequence"] == number and one["trained"]]
        assert trained == [f"{words}<|im_end|>"]


def test_every_sequence_of_a_row_is_shown(tokenizers: dict[str, Any]) -> None:
    thought = {**ANSWER, "content": "<think>\nhm\n</think>\n\nSeven."}
    shown = preview_row(chat(QUESTION, thought, QUESTION, thought), tokenizers["thinking"], 4096, "rows.jsonl")
    assert len(shown["sequences"]) == 2 and {one["sequence"] for one in shown["segments"]} == {0, 1}


def test_thinking_is_told_where_the_template_has_a_switch(tokenizers: dict[str, Any]) -> None:
    thought = {**ANSWER, "content": "<think>\nhm\n</think>\n\nSeven."}
    assert preview_row(chat(QUESTION, thought), tokenizers["thinking"], 4096, "f")["thinking"] is True
    assert preview_row(chat(QUESTION, ANSWER), tokenizers["thinking"], 4096, "f")["thinking"] is False
    assert preview_row(chat(QUESTION, ANSWER), tokenizers["chatml"], 4096, "f")["thinking"] is None


def test_what_would_stop_a_row_is_told(tiny_base: Path, tokenizers: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    long = preview_row(chat(QUESTION, ANSWER), tokenizer, 8, "rows.jsonl")
    assert "at most 8 fit (train.max_length)" in long["problem"] and not long["sequences"][0]["fits"]
    stopped = {**ANSWER, "content": "Seven.<|im_end|> And more."}
    assert (
        "a stop token stands inside its answer" in preview_row(chat(QUESTION, stopped), tokenizer, 4096, "f")["problem"]
    )
    system = {"role": "system", "content": "Be brief."}
    refused = preview_row(chat(system, QUESTION, ANSWER), tokenizers["gemma"], 4096, "f")
    assert "System role not supported" in refused["problem"]
    assert refused["segments"] == [] and refused["sequences"] == []


def test_plain_text_is_trained_whole(tiny_base: Path) -> None:
    shown = preview_row(Row.from_content(1, text="In Aru there are seven people."), load_tokenizer(tiny_base), 99, "f")
    assert text_of(shown).endswith("people.<|im_end|>") and shown["problem"] is None and shown["thinking"] is None


def test_a_giant_row_is_shown_shortened_with_its_true_counts(tiny_base: Path) -> None:
    row = chat(QUESTION, {**ANSWER, "content": "word " * (MAX_CHARACTERS // 4)})
    shown = preview_row(row, load_tokenizer(tiny_base), 4096, "rows.jsonl")
    assert len(text_of(shown)) <= MAX_CHARACTERS + 100 and "characters not shown" in text_of(shown)
    assert shown["sequences"][0]["num_tokens"] > 200_000
