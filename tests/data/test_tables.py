"""Delimited text, Parquet and Arrow: one record per row, and what can't be one is named with its line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from reading import opened, read, refusal

ROWS = [{"question": f"What is {i}, plainly?", "answer": f"It is\n{i}"} for i in range(40)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_told_from_the_rows(tmp_path: Path, delimiter: str) -> None:
    lines = [
        f"question{delimiter}answer",
        f'"a{delimiter}b"{delimiter}c',
        f'd{delimiter}"e\nf"',
        f'g{delimiter}"say ""h"""',
    ]
    records = read(tmp_path, "\r\n".join(lines).encode(), "rows.txt")
    assert [record.value for record in records] == [
        {"question": f"a{delimiter}b", "answer": "c"},
        {"question": "d", "answer": "e\nf"},
        {"question": "g", "answer": 'say "h"'},
    ]
    assert [record.line for record in records] == [2, 3, 5]


def test_prose_with_commas_is_no_table(tmp_path: Path) -> None:
    for text in (
        "First, a word.\nSecond, another, and more.\n",
        "name: a, b\n\nLong text, with a comma.\n",
        "a,b\n" * 3,
    ):
        assert opened(tmp_path, text.encode(), "notes.txt").sources[0].kind == "text"


def test_unknown_columns_are_a_table_only_by_name(tmp_path: Path) -> None:
    content = b"subject;body\nHello;World\n"
    assert opened(tmp_path, content, "mails.csv").sources[0].delimiter == ";"
    assert opened(tmp_path, content, "mails.txt").sources[0].kind == "text"


def test_a_row_with_other_fields_than_the_header_is_a_problem_of_its_own(tmp_path: Path) -> None:
    records = read(tmp_path, b"prompt,completion\na,b\nc\nd,e,f\ng,h\n", "rows.csv")
    assert [record.problem and record.problem.code for record in records] == [None, "ragged-row", "ragged-row", None]
    assert [record.line for record in records] == [2, 3, 4, 5]


def test_a_header_with_an_open_quote_is_refused(tmp_path: Path) -> None:
    refused = refusal(tmp_path, b'"question,answer\n' + b"a,b\n" * 5000, "rows.csv")
    assert refused.line == 1 and "close the quote on line 1" in refused.remedy


def test_an_open_quote_is_refused_with_the_line_where_it_began(tmp_path: Path) -> None:
    rows = "prompt,completion\na,b\n" + 'c,"d\n' + "e,f\n" * 500
    refused = refusal(tmp_path, rows.encode(), "rows.csv")
    assert refused.line == 3 and "close the quote on line 3" in refused.remedy


def test_a_repeated_column_is_refused(tmp_path: Path) -> None:
    assert "'a' twice" in refusal(tmp_path, b"a,b,a\n1,2,3\n", "rows.csv").what


def test_cells_that_hold_lists_are_json(tmp_path: Path) -> None:
    cell = '[{""role"": ""user"", ""content"": ""a""}, {""role"": ""assistant"", ""content"": ""b""}]'
    records = read(tmp_path, f'id,messages\n1,"{cell}"\n2,"[{{\'role\': 1}}]"\n'.encode(), "chats.csv")
    assert records[0].value["messages"][1] == {"role": "assistant", "content": "b"}
    assert records[1].problem is not None and records[1].problem.code == "not-json"


def table_bytes(kind: str, rows: list[dict[str, Any]]) -> bytes:
    table, file = pa.Table.from_pylist(rows), io.BytesIO()
    if kind == "parquet":
        parquet.write_table(table, file)
        return file.getvalue()
    with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_columnar_rows_are_read_with_their_numbers(tmp_path: Path, kind: str) -> None:
    records = read(tmp_path, table_bytes(kind, ROWS * 20), "rows.bin")
    assert [record.value for record in records] == ROWS * 20
    assert [record.line for record in records] == list(range(1, 801))


def test_nested_columns_become_messages(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "score": 0.5}]
    assert read(tmp_path, table_bytes("parquet", rows))[0].value == rows[0]


def test_raw_bytes_are_a_problem_of_the_row(tmp_path: Path) -> None:
    records = read(tmp_path, table_bytes("parquet", [{"prompt": "a", "image": b"\x89PNG"}]))
    assert records[0].problem is not None and "bytes" in records[0].problem.reason


def test_a_small_parquet_file_that_decodes_to_gigabytes_ends_at_the_limit(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["a" * (1 << 20)] * 600).dictionary_encode()})
    file = io.BytesIO()
    parquet.write_table(table, file, compression="zstd")
    assert len(file.getvalue()) < 100_000
    refused = refusal(tmp_path, file.getvalue(), "bomb.parquet", max_file_megabytes=300)
    assert "decodes to more than" in refused.what


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_damaged_columns_are_refused(tmp_path: Path, kind: str) -> None:
    content = table_bytes(kind, ROWS * 20)
    for broken in (content[: len(content) // 2], content[:-9], content[:100]):
        refused = refusal(tmp_path, broken, "rows.bin")
        assert "can't be read as" in refused.what
