"""Rows out again: what a format holds reads back as the same row, and what it can't hold is left out and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from reading import read
from test_row_formats import ANSWER, CALL, QUESTION, row_of

from stoker.data.formats.recognise import convert
from stoker.data.formats.write import Target, write_rows
from stoker.data.rows import Row

SYSTEM = {"role": "system", "content": "s"}
NASTY = 'a "quoted", \\ back\\slashed;\r\n\ttext\u2028 with é and 漢字 {{x}}\n\n'
SIMPLE = row_of({"prompt": NASTY, "completion": NASTY})
WITH_SYSTEM = row_of({"messages": [SYSTEM, QUESTION, ANSWER]})
TURNS = row_of({"messages": [SYSTEM, QUESTION, ANSWER, {**QUESTION, "content": NASTY}, ANSWER]})
WEIGHTS = row_of({"messages": [QUESTION, {**ANSWER, "weight": 0}, QUESTION, ANSWER]})
CALLS = row_of(
    {
        "messages": [QUESTION, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "3"}, ANSWER],
        "tools": [{"name": "f", "parameters": {"type": "object"}}],
    }
)  # fmt: skip
CALL_IDS = row_of(
    {
        "messages": [
            QUESTION, {"role": "assistant", "content": "so", "tool_calls": [{"id": "c1", **CALL}]},
            {"role": "tool", "content": "3", "tool_call_id": "c1"}, ANSWER,
        ]
    }
)  # fmt: skip
TEXT = row_of({"text": NASTY})
PAIR = row_of({"prompt": "q", "chosen": "a", "rejected": "b"})
LABELLED = row_of({"prompt": "q", "completion": "a", "label": True})
ALL = (SIMPLE, WITH_SYSTEM, TURNS, WEIGHTS, CALLS, CALL_IDS, TEXT, PAIR, LABELLED)


def round_trip(tmp_path: Path, rows: tuple[Row, ...], target: Target) -> tuple[list[str], dict[str, int]]:
    path = tmp_path / "out"
    written = write_rows(rows, target, path)
    records = read(tmp_path, path.read_bytes(), "out.csv" if target == "csv" else "out")
    assert written.rows == len(records)
    return [convert(record.value, 1)[0].id for record in records], dict(written.left_out)


@pytest.mark.parametrize(
    ("target", "held"),
    [
        ("openai", ALL),
        ("parquet", ALL),
        ("prompt-completion", (SIMPLE, WITH_SYSTEM, TURNS, WEIGHTS, CALLS, CALL_IDS)),
        ("sharegpt", (SIMPLE, WITH_SYSTEM, TURNS, WEIGHTS, CALLS)),
        ("alpaca", (SIMPLE, WITH_SYSTEM, TURNS)),
        ("csv", (SIMPLE, WITH_SYSTEM)),
    ],
)
def test_what_a_format_holds_reads_back_as_the_same_row(tmp_path: Path, target: Target, held: tuple[Row, ...]) -> None:
    ids, left_out = round_trip(tmp_path, ALL, target)
    assert ids == [row.id for row in held]
    assert sum(left_out.values()) == len(ALL) - len(held)


def test_every_format_can_be_written(tmp_path: Path) -> None:
    for target in get_args(Target):
        assert round_trip(tmp_path, (SIMPLE,), target) == ([SIMPLE.id], {})


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    def left_out(row: Row, target: Target) -> Any:
        return round_trip(tmp_path, (SIMPLE, row), target)[1]

    assert left_out(CALLS, "alpaca") == {"tools": 1}
    assert left_out(WEIGHTS, "alpaca") == {"weights": 1}
    assert left_out(TURNS, "csv") == {"more than one turn": 1}
    assert left_out(CALL_IDS, "sharegpt") == {"ids and names of calls": 1}
    assert left_out(PAIR, "sharegpt") == {"preference rows": 1}
