"""Records to canonical rows: every format, every way to be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.data.findings import REMEDIES, RowProblem
from stoker.data.formats.recognise import convert
from stoker.data.rows import Row

QUESTION = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}


def row_of(record: Any) -> Row:
    return convert(record, 1)[0]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [QUESTION, ANSWER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ANSWER], "id": 3},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [{"from": "user", "value": "q"}, {"from": "bot", "value": "a"}], "tools": ""},
        {"conversations": [QUESTION, ANSWER]},
        {"instruction": "q", "input": "", "output": "a"},
        {"instruction": "q", "input": None, "output": "a", "history": [], "system": ""},
        {"instruction": "", "input": "q", "output": "a"},
        {"instruction": "q", "context": "", "response": "a", "category": "open"},
        {"prompt": "q", "completion": "a"},
        {"prompt": [QUESTION], "completion": [ANSWER]},
        {"prompt": "q", "response": "a"},
        {"question": "q", "answer": "a"},
        {"question": "q", "answers": ["a", "b"]},
        {"question": "q", "answers": {"text": ["a"], "answer_start": [0]}},
        {"problem": "q", "solution": "a"},
        {"input": "q", "target": "a"},
        {"query": "q", "output": "a"},
        {"Question": "q", "Answer": "a"},
        {"Prompt ": "q", "Completion": "a"},
        {"input": "q", "text": "a"},
        {"conversation": [{"human": "q", "assistant": "a"}]},
        {"conversations": [{"role": "prompter", "text": "q"}, {"role": "assistant", "text": "a"}]},
        {"messages": [QUESTION, {**ANSWER, "weight": 1}]},
        {"prompt": "q", "completion": "a", "label": "spam"},
    ],
)
def test_every_format_becomes_the_same_row(record: dict[str, Any]) -> None:
    row = row_of(record)
    assert row.messages == (QUESTION, ANSWER)
    assert row.id == row_of({"messages": [QUESTION, ANSWER]}).id


PAIR = {"messages": (QUESTION,), "chosen": (ANSWER,), "rejected": ({"role": "assistant", "content": "b"},)}
WORSE = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [WORSE]},
        {"question": "q", "response_chosen": "a", "response_rejected": "b"},
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
        {"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, WORSE]},
        {"prompt": "q", "chosen": [QUESTION, ANSWER], "rejected": [QUESTION, WORSE], "score_chosen": 4.0},
        {"messages": [QUESTION, ANSWER], "chosen": [QUESTION, ANSWER], "rejected": [QUESTION, WORSE]},
        {"messages": [QUESTION, ANSWER], "rejected_response": "b"},
        {"query": "q", "response": "a", "rejected_response": "b"},
        {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"},
         "rejected": {"from": "gpt", "value": "b"}},
    ],
)  # fmt: skip
def test_every_dialect_of_pairs_becomes_the_same_row(record: dict[str, Any]) -> None:
    row, shape = convert(record, 1)
    assert shape.format == "preference" and row.kind == "preference"
    assert row.content.to_json() == PAIR
    assert row.prompt_messages() == [QUESTION] and row.answer() == "a"
    assert Row.from_json(row.to_json()) == row


def test_a_transcript_gives_its_turns() -> None:
    asked = "\n\nHuman: q\n\nAssistant: a1\n\nHuman: q2"
    row = row_of({"chosen": f"{asked}\n\nAssistant: good", "rejected": f"{asked}\n\nAssistant: bad"})
    assert [turn["content"] for turn in row.prompt_messages()] == ["q", "a1", "q2"]
    assert row.content.rejected == ({"role": "assistant", "content": "bad"},)


def test_a_label_of_yes_or_no_makes_a_labelled_answer() -> None:
    for key in ("label", "kto_tag"):
        row, shape = convert({"prompt": "q", "completion": "a", key: False}, 1)
        assert (shape.format, row.kind, row.content.label) == ("kto", "kto", False)
    assert row.id != row_of({"prompt": "q", "completion": "a"}).id


def test_reasoning_becomes_the_part_that_models_write_before_the_answer() -> None:
    thought = "<think>\nbecause\n</think>\n\na"
    assert row_of({"messages": [QUESTION, {**ANSWER, "reasoning_content": "because"}]}).answer() == thought
    assert row_of({"question": "q", "reasoning": "because\n", "answer": "a"}).answer() == thought
    assert row_of({"question": "q", "cot": None, "answer": "a"}).answer() == "a"
    assert row_of({"question": "q", "thinking": "no", "answer": thought}).answer() == thought


def test_a_turn_of_weight_0_is_read_and_not_trained() -> None:
    row = row_of({"messages": [QUESTION, {**ANSWER, "weight": 0}, QUESTION, ANSWER]})
    assert row.trained_turns() == [3]
    assert row_of({"messages": [QUESTION, {**ANSWER, "train": False}, QUESTION, ANSWER]}) == row


def test_alpaca_keeps_input_history_and_system() -> None:
    row = row_of({"instruction": "i", "input": "x", "output": "o", "history": [["q", "a"]], "system": "s"})
    assert [message["content"] for message in row.messages] == ["s", "q", "a", "i\nx", "o"]
    assert [message["content"] for message in row.prompt_messages()] == ["s", "q", "a", "i\nx"]
    assert row.answer() == "o"


def test_a_context_belongs_to_the_question() -> None:
    assert row_of({"context": "c", "question": "q", "answer": "a"}).messages[0]["content"] == "c\n\nq"


def test_sharegpt_calls_become_tool_calls() -> None:
    row = row_of(
        {
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "let me see"},
                {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
                {"from": "observation", "value": "3"},
                {"from": "gpt", "value": "a"},
            ],
            "tools": '[{"name": "f", "parameters": {}}]',
        }
    )
    assert row.messages[1] == {"role": "assistant", "content": "let me see", "tool_calls": [CALL]}
    assert row.messages[2] == {"role": "tool", "content": "3"}
    assert row.tools == ({"type": "function", "function": {"name": "f", "parameters": {}}},)


def test_openai_tool_calls_are_kept_with_their_ids_and_parsed_arguments() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    row = row_of(
        {
            "messages": [
                QUESTION,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "3", "tool_call_id": "c1"},
                ANSWER,
            ]
        }
    )
    assert row.messages[1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **CALL}]}
    assert row.messages[2]["tool_call_id"] == "c1"
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}}
    assert row_of({"messages": [QUESTION, old]}).messages[1]["tool_calls"] == [CALL]


def test_a_number_is_an_answer_and_plain_text_is_text() -> None:
    assert row_of({"question": "6 * 7", "answer": 42}).answer() == "42"
    row = row_of({"text": "some words", "source": "x"})
    assert row.text == "some words" and row.messages is None and row.prompt_messages() == []


def test_a_null_beside_a_format_does_not_hide_it() -> None:
    assert row_of({"messages": None, "text": "words"}).text == "words"
    assert row_of({"messages": [QUESTION, ANSWER], "chosen": None, "rejected": None}).kind == "chat"
    assert row_of({"prompt": "q", "completion": "a", "messages": None}).messages == (QUESTION, ANSWER)


def test_rows_survive_json() -> None:
    row = row_of({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})
    assert Row.from_json(row.to_json()) == row
    text = row_of({"text": "words"})
    assert Row.from_json(text.to_json()) == text


def test_unused_keys_are_told() -> None:
    assert convert({"prompt": "q", "completion": "a", "zeta": 1, "alpha": 2}, 1)[1].unused == ("alpha", "zeta")


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (7, "not-object"),
        (None, "not-object"),
        ({}, "unknown-keys"),
        ({"foo": 1}, "unknown-keys"),
        ({"prompt": "q"}, "unknown-keys"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "same-answers"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "null-value"),
        ({"prompt": "q", "chosen": " ", "rejected": "b"}, "empty-answer"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "empty-prompt"),
        ({"chosen": "a", "rejected": "b"}, "no-prompt"),
        ({"chosen": [QUESTION, ANSWER], "rejected": [{**QUESTION, "content": "r"}, ANSWER]}, "no-prompt"),
        ({"conversations": [], "chosen": ANSWER, "rejected": {**ANSWER, "content": "b"}}, "no-prompt"),
        ({"prompt": [ANSWER], "chosen": "c", "rejected": "b"}, "roles-out-of-order"),
        ({"prompt": "q", "completion": "", "label": True}, "empty-answer"),
        ({"messages": [QUESTION, {**ANSWER, "weight": 0}]}, "nothing-trained"),
        ({"messages": [QUESTION, {**ANSWER, "weight": 0.5}]}, "bad-weight"),
        ({"question": "q", "answer": None}, "null-value"),
        ({"question": None, "answer": "a"}, "null-value"),
        ({"question": "q", "answer": ""}, "empty-answer"),
        ({"question": "q", "answers": []}, "empty-answer"),
        ({"question": "q", "answer": " \n"}, "empty-answer"),
        ({"question": "q", "answer": True}, "wrong-type"),
        ({"question": ["q"], "answer": "a"}, "wrong-type"),
        ({"question": " ", "answer": "a"}, "empty-prompt"),
        ({"instruction": "", "input": "", "output": "a"}, "empty-prompt"),
        ({"instruction": "q", "output": "a", "history": [["x"]]}, "wrong-type"),
        ({"text": "  "}, "empty-text"),
        ({"text": None}, "null-value"),
        ({"messages": []}, "no-messages"),
        ({"messages": None}, "no-messages"),
        ({"messages": "q"}, "no-messages"),
        ({"conversations": []}, "no-messages"),
        ({"messages": ["q"]}, "wrong-type"),
        ({"messages": [QUESTION]}, "no-answer"),
        ({"messages": [QUESTION, ANSWER, QUESTION]}, "no-answer"),
        ({"messages": [ANSWER]}, "roles-out-of-order"),
        ({"messages": [QUESTION, QUESTION, ANSWER]}, "roles-out-of-order"),
        ({"messages": [QUESTION, ANSWER, ANSWER]}, "roles-out-of-order"),
        ({"messages": [QUESTION, {"role": "tool", "content": "3"}, ANSWER]}, "roles-out-of-order"),
        ({"messages": [QUESTION, {"role": "narrator", "content": "a"}]}, "bad-role"),
        ({"messages": [QUESTION, {"content": "a"}]}, "bad-role"),
        ({"messages": [QUESTION, {"role": "assistant", "content": None}]}, "null-value"),
        ({"messages": [QUESTION, {"role": "assistant", "content": ""}]}, "empty-answer"),
        ({"messages": [QUESTION, {"role": "assistant", "content": 4}]}, "wrong-type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]}, "unsupported-part"),
        ({"messages": [QUESTION, {"role": "assistant", "tool_calls": [{"x": 1}]}]}, "bad-tool-call"),
        ({"messages": [QUESTION, ANSWER], "tools": "[{"}, "bad-tools"),
        ({"messages": [QUESTION, ANSWER], "tools": [1]}, "bad-tools"),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "f("}]}, "bad-tool-call"),
        ({"conversations": [{"from": "human", "value": None}, {"from": "gpt", "value": "a"}]}, "null-value"),
        ({"conversations": [{"from": "human"}, {"from": "gpt", "value": "a"}]}, "wrong-type"),
    ],
)  # fmt: skip
def test_a_bad_row_has_a_stable_code_and_a_remedy(record: Any, code: str) -> None:
    with pytest.raises(RowProblem) as caught:
        convert(record, 1)
    assert caught.value.code == code
    assert caught.value.reason and caught.value.remedy == REMEDIES[code]
