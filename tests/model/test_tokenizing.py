from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from chat_styles import STOPS, STYLES, make_tokenizer

from stoker.data.rows import Row
from stoker.errors import DataError, SettingError
from stoker.model.load import load_tokenizer
from stoker.model.tokenizing import encode_prompt, encode_row, encode_row_prompt, encode_rows, stop_token_ids

ONE = [{"role": "user", "content": "How many people?"}, {"role": "assistant", "content": "Seven people."}]
TWO = [*ONE, {"role": "user", "content": "In Aru?"}, {"role": "assistant", "content": "There are 12."}]


def spans(encoded: Any, tokenizer: Any) -> list[str]:
    """The texts of a sequence's trained spans."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], encoded.trained, [False]]).astype(int)))
    return [tokenizer.decode(encoded.ids[a:b].tolist()) for a, b in edges.reshape(-1, 2)]


@pytest.mark.parametrize("style", STYLES)
def test_the_answer_and_its_stop_token_are_trained_and_nothing_else(style: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[style]
    (encoded,) = encode_row(Row.from_content(1, ONE), tokenizer)
    assert spans(encoded, tokenizer) == ["Seven people." + ("\n\n" if style == "plain" else "") + STOPS[style]]


@pytest.mark.parametrize("style", STYLES)
def test_the_prompt_is_what_transformers_sends(style: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[style]
    (encoded,) = encode_row(Row.from_content(1, ONE), tokenizer)
    theirs = tokenizer.apply_chat_template(ONE[:1], add_generation_prompt=True, enable_thinking=False)["input_ids"]
    assert encoded.ids[: int(np.argmax(encoded.trained))].tolist() == theirs
    assert encode_prompt(ONE[:1], None, tokenizer).tolist() == theirs
    assert encode_row_prompt(Row.from_content(1, ONE), tokenizer).tolist() == theirs


@pytest.mark.parametrize("style", STYLES)
def test_every_turn_is_trained_once_after_its_own_prompt(style: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[style]
    sequences = encode_row(Row.from_content(1, TWO), tokenizer)
    assert len(sequences) == (2 if style in ("thinking", "plain") else 1)
    answers = [span for sequence in sequences for span in spans(sequence, tokenizer)]
    assert [answer.removesuffix(STOPS[style]).strip() for answer in answers] == ["Seven people.", "There are 12."]
    last = encode_prompt(TWO[:3], None, tokenizer)
    assert sequences[-1].ids[: len(last)].tolist() == last.tolist()
    assert sequences[-1].trained[len(last)]


@pytest.mark.parametrize("style", STYLES)
def test_a_turn_of_weight_0_is_a_prompt_of_the_next_and_not_trained(style: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[style]
    (encoded,) = encode_row(Row.from_content(1, [TWO[0], {**TWO[1], "weight": 0}, *TWO[2:]]), tokenizer)
    assert [span.removesuffix(STOPS[style]).strip() for span in spans(encoded, tokenizer)] == ["There are 12."]
    last = encode_prompt(TWO[:3], None, tokenizer)
    assert encoded.ids[: len(last)].tolist() == last.tolist()
    (first,) = encode_row(Row.from_content(1, [*TWO[:3], {**TWO[3], "weight": 0}]), tokenizer)
    assert first.ids.tolist() == encode_row(Row.from_content(1, ONE), tokenizer)[0].ids.tolist()


@pytest.mark.parametrize("style", STYLES)
def test_generation_stops_at_what_the_template_ends_a_turn_with(style: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[style]
    stops = stop_token_ids(tokenizer)
    assert tokenizer.convert_ids_to_tokens(stops[0]) == STOPS[style]
    assert tokenizer.eos_token_id in stops


def test_an_answer_with_thinking_is_trained_with_thinking_on(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["thinking"]
    thought = [ONE[0], {"role": "assistant", "content": "<think>\nThere are 3 and 4.\n</think>\n\nSeven."}]
    (encoded,) = encode_row(Row.from_content(1, thought), tokenizer)
    assert spans(encoded, tokenizer) == ["<think>\nThere are 3 and 4.\n</think>\n\nSeven.<|im_end|>"]
    prompt = encode_row_prompt(Row.from_content(1, thought), tokenizer)
    assert tokenizer.decode(prompt.tolist()).endswith("assistant\n")
    plain = encode_row_prompt(Row.from_content(1, ONE), tokenizer)
    assert tokenizer.decode(plain.tolist()).endswith("</think>\n\n")


def test_an_answer_that_would_merge_with_its_prompt_ends_its_sequence(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["chatml"]
    messages = [dict(message) for message in TWO]
    messages[1]["content"] = "\nSeven"
    merged = tokenizer.encode("assistant\n\nSeven") != tokenizer.encode("assistant\n") + tokenizer.encode("\nSeven")
    sequences = encode_row(Row.from_content(1, messages), tokenizer)
    assert len(sequences) == (2 if merged else 1)
    last = encode_prompt(messages[:3], None, tokenizer)
    assert sequences[-1].ids[: len(last)].tolist() == last.tolist()


def test_a_tokenizer_with_a_prefix_space_adds_none_inside_a_sequence() -> None:
    tokenizer = make_tokenizer("chatml", has_prefix_space=True)
    (encoded,) = encode_row(Row.from_content(1, TWO), tokenizer)
    assert spans(encoded, tokenizer)[0] == "Seven people.<|im_end|>"
    whole = tokenizer.apply_chat_template(TWO)["input_ids"]
    assert encoded.ids.tolist() == whole[: len(encoded.ids)]


def test_plain_text_is_trained_whole_with_an_end(tokenizers: dict[str, Any]) -> None:
    for style in ("chatml", "llama"):
        tokenizer = tokenizers[style]
        (encoded,) = encode_row(Row.from_content(3, text="In Aru there are seven people."), tokenizer)
        assert encoded.ids[-1] == tokenizer.eos_token_id
        assert not encoded.trained[0] and encoded.trained[1:].all()
        assert encoded.line == 3


def test_a_conversation_that_the_template_refuses_is_named_or_set_aside(tokenizers: dict[str, Any]) -> None:
    rows = [Row.from_content(1, ONE), Row.from_content(2, [{"role": "system", "content": "Be kind."}, *ONE])]
    with pytest.raises(DataError, match=r"line 2: the chat template refuses this conversation .*System role"):
        encode_rows(rows, tokenizers["gemma"])
    refused: dict[str, str] = {}
    assert [len(sequences) for sequences in encode_rows(rows, tokenizers["gemma"], refused)] == [1, 0]
    assert list(refused) == [rows[1].id]


def test_a_tokenizer_without_a_template_is_refused_with_a_remedy(tokenizers: dict[str, Any]) -> None:
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = None
    with pytest.raises(SettingError, match="no chat template"):
        encode_row(Row.from_content(1, ONE), tokenizer)


def test_tools_and_their_calls_reach_the_model(tiny_base: Any, tiny_rows: list[Row]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    (encoded,) = encode_row(tiny_rows[-1], tokenizer)
    call, answer = spans(encoded, tokenizer)
    assert call == '<tool_call>\n{"name": "census", "arguments": {"place": "Aru"}}\n</tool_call><|im_end|>'
    assert answer == "Twelve people live in Aru.<|im_end|>"
    prompt = tokenizer.decode(encoded.ids[: int(np.argmax(encoded.trained))].tolist())
    assert '"description": "Count people."' in prompt


def test_many_rows_at_once_give_what_each_gives_alone(tokenizers: dict[str, Any], tiny_rows: list[Row]) -> None:
    together = encode_rows(tiny_rows[:64], tokenizers["llama"])
    for row, sequences in zip(tiny_rows[:64], together, strict=True):
        for one, other in zip(encode_row(row, tokenizers["llama"]), sequences, strict=True):
            assert np.array_equal(one.ids, other.ids) and np.array_equal(one.trained, other.trained)
