"""One JSON document: arrays of any size, columns, records by key; broken anywhere, it is refused with the line."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from reading import read, refusal

ROW = {"question": "a", "answer": "b"}


@pytest.mark.parametrize(
    "document",
    [
        {"question": ["a", "c"], "answer": ["b", "d"]},
        {"question": {"0": "a", "1": "c"}, "answer": {"0": "b", "1": "d"}},
        {"x1": {"question": "a", "answer": "b"}, "x2": {"question": "c", "answer": "d"}},
        {"version": 1, "data": [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}]},
        {"rows": [{"row_idx": 0, "row": ROW}, {"row_idx": 1, "row": {"question": "c", "answer": "d"}}], "num": 2},
    ],
)
def test_rows_are_found_however_they_are_nested(tmp_path: Path, document: object) -> None:
    values = [record.value for record in read(tmp_path, orjson.dumps(document, option=orjson.OPT_INDENT_2))]
    assert values == [ROW, {"question": "c", "answer": "d"}]


def test_a_row_whose_values_are_lists_is_one_row(tmp_path: Path) -> None:
    turns = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}
    assert [record.value for record in read(tmp_path, orjson.dumps(turns))] == [turns]


def test_columns_of_different_length_are_not_paired(tmp_path: Path) -> None:
    content = b'{"question": ["a", "b"], "answer": ["c"]}'
    assert [record.value for record in read(tmp_path, content)] == [orjson.loads(content)]


def test_splits_are_not_taken_for_one_file(tmp_path: Path) -> None:
    assert "train, test" in refusal(tmp_path, orjson.dumps({"train": [ROW], "test": [ROW]})).what


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'[\n{"a": 1}\n{"a": 2}\n]', 3),
        (b'[\n{"a": 1},,\n{"a": 2}\n]', 2),
        (b'[\n{"a": 1},\n{"a": 2},\n]', 3),
        (b'[\n{"a": 1}\n] more', 3),
        (b'[\n{"a": 1}\n]\n[]', 3),
        (b'[\n{"a": 1},\n{"a": "b]\n]', 3),
        (b'[\n{"a": 1},\n{"a": 1]}\n]', 3),
        (b'[\n{"a": 1},\nnul, {"a": 1}]', 3),
        (b'[{"a": 1}\n}', 2),
    ],
)
def test_a_broken_array_is_refused_with_its_line(tmp_path: Path, content: bytes, line: int) -> None:
    refused = refusal(tmp_path, content)
    assert refused.line == line, refused.what


def test_values_between_rows_are_rows_that_are_no_objects(tmp_path: Path) -> None:
    values = [record.value for record in read(tmp_path, b'["a", {"b": "]"}, 3,\n null, {"c": "\\"{"}, [4], "d"]')]
    assert values == ["a", {"b": "]"}, 3, None, {"c": '"{'}, [4], "d"]


def test_a_row_over_the_limit_is_a_problem_of_its_own(tmp_path: Path) -> None:
    rows = [ROW, {"question": "x" * 2_000_000, "answer": "y"}, ROW]
    records = read(tmp_path, orjson.dumps(rows), max_line_megabytes=1)
    assert [record.problem and record.problem.code for record in records] == [None, "line-too-long", None]
