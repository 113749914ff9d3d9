"""Whatever bytes come in: a dataset with its rows conserved, or a refusal with what, why and remedy."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lab import SmallLab

from stoker.data.findings import FileRefused, RowProblem
from stoker.data.formats.messages import normalise_messages
from stoker.data.formats.recognise import convert
from stoker.data.rows import Row
from stoker.spec.lab import IntakeSpec

KEYS = [
    "messages", "conversations", "conversation", "role", "content", "from", "value", "tools", "tool_calls", "function",
    "name", "arguments", "type", "text", "prompt", "completion", "question", "answer", "instruction", "input", "output",
    "history", "system", "chosen", "rejected", "weight", "data", "function_call", "context",
]  # fmt: skip
WORDS = [
    "user",
    "assistant",
    "human",
    "gpt",
    "system",
    "tool",
    "function_call",
    "function",
    "text",
    "[{}]",
    '{"name": "f"}',
    "[" * 200 + "]" * 200,
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(WORDS)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)
EXAMPLES = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@EXAMPLES
@given(VALUES)
def test_any_json_value_is_a_row_or_a_problem(value: Any) -> None:
    try:
        row, _ = convert(value, 1)
    except RowProblem as problem:
        assert problem.reason and problem.remedy
    else:
        assert Row.from_json(orjson.loads(orjson.dumps(row.to_json()))) == row
        assert row.text or normalise_messages(list(row.messages or ())) == list(row.messages or ())


@EXAMPLES
@given(
    st.lists(VALUES.map(orjson.dumps) | st.binary(max_size=40), max_size=6), st.sampled_from([b"\n", b",", b"\r\n\n"])
)
def test_any_bytes_are_a_dataset_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], join: bytes
) -> None:
    lab = SmallLab(tmp_path_factory.mktemp("lab"))
    lab.intake = IntakeSpec(allow_unproven=True)
    content = join.join(parts)
    try:
        summary = lab.take(b"[" + content + b"]" if join == b"," else content, "any").summary
    except FileRefused as refused:
        assert refused.what and refused.why and refused.remedy
    else:
        assert summary["rows_in"] == sum(summary[key] for key in ("train", "held_out", "duplicate", "quarantined")) > 0


def test_every_line_of_a_file_can_be_cut_anywhere(lab: SmallLab) -> None:
    lab.intake = IntakeSpec(allow_unproven=True)
    content = orjson.dumps(
        [{"messages": [{"role": "user", "content": 'é \\ " {'}, {"role": "assistant", "content": "[\n"}]}] * 2
    )
    for end in range(1, len(content)):
        with pytest.raises(FileRefused) as caught:
            lab.take(content[:end], "cut.json")
        assert caught.value.line == 1 or "not UTF-8" in caught.value.what
