from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_styles import STYLES

from stoker.data.rows import Row
from stoker.errors import MaskProofFailed
from stoker.model.encoded import Encoded, EncodedSet
from stoker.model.load import load_tokenizer
from stoker.model.mask_proof import prove
from stoker.model.tokenizing import encode_row, encode_rows


def by_id(rows: list[Row]) -> dict[str, Row]:
    return {row.id: row for row in rows}


def encode(row: Row, tokenizer: Any) -> tuple[Encoded, dict[str, Row]]:
    (encoded,) = encode_row(row, tokenizer)
    return encoded, {row.id: row}


@pytest.mark.parametrize("style", STYLES)
def test_sound_rows_pass_and_are_shown_with_trained_tokens_marked(style: str, tokenizers: dict[str, Any]) -> None:
    rows = [
        Row.from_content(
            i + 1, [{"role": "user", "content": f"Who? {i}"}, {"role": "assistant", "content": f"Seven of {i}."}]
        )
        for i in range(5)
    ]
    rows.append(Row.from_content(6, text="In Aru there are seven people."))
    encoded = EncodedSet.from_rows(encode_rows(rows, tokenizers[style]))
    text = prove(encoded, by_id(rows), tokenizers[style], 4096, "some.jsonl")
    assert "file: some.jsonl" in text and "5 prompts of 5 rows compared, all equal" in text
    assert "⟦Seven of 0." in text and "⟧" in text


def test_several_turns_and_tools_pass(tiny_base: Path, tiny_rows: list[Row]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    encoded = EncodedSet.from_rows(encode_rows(tiny_rows, tokenizer))
    assert "82 prompts of 65 rows" in prove(encoded, by_id(tiny_rows), tokenizer, 4096, "rows.jsonl")
    sequences = [sequence for row in encode_rows(tiny_rows, tokenizer) for sequence in row]
    assert "82 prompts of 65 rows" in prove(sequences, by_id(tiny_rows), tokenizer, 4096, "rows.jsonl")


def test_a_row_that_trains_nothing_is_refused(tiny_base: Path, tiny_rows: list[Row]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    encoded, rows = encode(tiny_rows[4], tokenizer)
    silent = replace(encoded, trained=np.zeros_like(encoded.trained))
    with pytest.raises(MaskProofFailed, match=r"rows\.jsonl, line 5: no token of it is trained"):
        prove([silent], rows, tokenizer, 4096, "rows.jsonl")


def test_a_stop_token_that_is_not_trained_is_refused(tiny_base: Path, tiny_rows: list[Row]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    encoded, rows = encode(tiny_rows[4], tokenizer)
    trained = encoded.trained.copy()
    trained[-1] = False
    with pytest.raises(MaskProofFailed, match="line 5: a trained answer does not end with a stop token"):
        prove([replace(encoded, trained=trained)], rows, tokenizer, 4096, "rows.jsonl")


def test_a_cut_answer_is_refused(tiny_base: Path, tiny_rows: list[Row]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    encoded, rows = encode(tiny_rows[4], tokenizer)
    with pytest.raises(MaskProofFailed, match="line 5: it is longer than 10 tokens"):
        prove([encoded], rows, tokenizer, 10, "rows.jsonl")


def test_a_doubled_bos_is_refused(tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers["llama"]
    row = Row.from_content(9, [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Seven."}])
    encoded, rows = encode(row, tokenizer)
    doubled = replace(
        encoded,
        ids=np.concatenate([encoded.ids[:1], encoded.ids]),
        trained=np.concatenate([[False], encoded.trained]),
    )
    with pytest.raises(MaskProofFailed, match="line 9: it begins with two BOS tokens"):
        prove([doubled], rows, tokenizer, 4096, "rows.jsonl")


def test_another_prompt_than_generation_sends_is_refused(tiny_base: Path, tiny_rows: list[Row]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    encoded, rows = encode(tiny_rows[4], tokenizer)
    ids = encoded.ids.copy()
    ids[4] += 1
    with pytest.raises(MaskProofFailed, match="line 5: the tokens before an answer are not those"):
        prove([replace(encoded, ids=ids)], rows, tokenizer, 4096, "rows.jsonl")


def test_a_stop_token_inside_an_answer_is_refused(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    content = "Seven.<|im_end|> And more."
    row = Row.from_content(3, [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": content}])
    encoded, rows = encode(row, tokenizer)
    with pytest.raises(MaskProofFailed, match="line 3: a stop token stands inside its answer"):
        prove([encoded], rows, tokenizer, 4096, "rows.jsonl")


def test_an_assistant_turn_left_out_is_refused(tiny_base: Path, tiny_rows: list[Row]) -> None:
    tokenizer = load_tokenizer(tiny_base)
    encoded, rows = encode(tiny_rows[2], tokenizer)
    first_end = int(np.argmax(np.diff(encoded.trained.astype(int)) == -1)) + 1
    cut = replace(encoded, ids=encoded.ids[:first_end], trained=encoded.trained[:first_end])
    with pytest.raises(MaskProofFailed, match="line 3: 1 trained answers, but 2 turns to train"):
        prove([cut], rows, tokenizer, 4096, "rows.jsonl")
