"""Bytes to records: hostile and broken files."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import read, refusal

from stoker.data.reading.plain_text import MAX_BLOCK_CHARS


def test_jsonl_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    records = read(tmp_path, '{"text": "one\u2028two"}\r\n\n  \n{"text": "three"}\n'.encode())
    assert [(record.line, record.value["text"]) for record in records] == [(1, "one\u2028two"), (4, "three")]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    for content in (b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}', b'\xef\xbb\xbf[{"text": "a"}, {"text": "b"}]'):
        assert [record.value for record in read(tmp_path, content)] == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("bad", [b'{"text": NaN}', b'{"text": "\\ud800"}', b'{"text": 1e400}', b"{'text': 1}", b"{}x"])
def test_a_line_that_is_not_strict_json_is_a_problem_of_its_own(tmp_path: Path, bad: bytes) -> None:
    records = read(tmp_path, b'{"text": "a"}\n' + bad + b'\n{"text": "b"}\n')
    assert [record.problem and record.problem.code for record in records] == [None, "not-json", None]
    assert records[1].line == 2


def test_json_rows_know_their_lines_whatever_stands_in_strings(tmp_path: Path) -> None:
    content = b'[\n  {"text": "[{\\"\\\\"},\n\n  {"text": ["}", {"a": []}]}, 3,\n {"text": "c"}\n]'
    assert [record.line for record in read(tmp_path, content)] == [2, 4, 4, 5]


def test_an_object_that_holds_one_array_gives_its_rows(tmp_path: Path) -> None:
    content = b'{\n"version": {"a": [1]},\n"data": [\n{"text": "a"},\n{"text": "b"}]\n}'
    assert [(record.line, record.value["text"]) for record in read(tmp_path, content)] == [(4, "a"), (5, "b")]
    assert "2 arrays" in refusal(tmp_path, b'{"a": [{}], \n"b": [{}]}').what


def test_one_row_in_a_pretty_printed_file_is_one_row(tmp_path: Path) -> None:
    assert len(read(tmp_path, b'{\n "messages": [\n {"role": "user", "content": "a"}\n]}')) == 1


def test_a_long_line_is_skipped_without_being_read(tmp_path: Path) -> None:
    content = b'{"text": "a"}\n{"text": "' + b"x" * 3_000_000 + b'"}\n{"text": "b"}\n'
    records = read(tmp_path, content, max_line_megabytes=1)
    assert [record.problem and record.problem.code for record in records] == [None, "line-too-long", None]
    assert "3,000,013 bytes" in records[1].problem.reason and records[2].line == 3


def test_one_long_line_is_a_row_too_long_or_a_document(tmp_path: Path) -> None:
    row = b'{"text": "' + b"x" * 2_000_000 + b'"}'
    assert read(tmp_path, row, max_line_megabytes=1)[0].problem.code == "line-too-long"
    document = b'{"data": [' + b",".join([b'{"text": "' + b"x" * 500_000 + b'"}'] * 4) + b"]}"
    assert [record.problem for record in read(tmp_path, document, max_line_megabytes=1)] == [None] * 4


def test_nesting_is_limited_to_64_levels(tmp_path: Path) -> None:
    def nested(depth: int) -> bytes:
        return b'{"a": ' * (depth - 1) + b"[]" + b"}" * (depth - 1) + b"\n"

    records = read(tmp_path, b'{"text": "a"}\n' + nested(64) + nested(65) + nested(900))
    assert [record.problem and record.problem.code for record in records] == [None, None, "too-deep", "too-deep"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"text": "a"}\n{"text": "b', 2),
        (b'{"text": "a"}\n{"messages": [{"role": "user", "content": "b"}', 2),
        (b'[\n{"text": "a"},\n{"text": ', 3),
        (b'[\n{"text": "a"},\n', 3),
    ],
)
def test_half_a_file_is_refused_with_the_line_where_it_stops(tmp_path: Path, content: bytes, line: int) -> None:
    refused = refusal(tmp_path, content)
    assert "half a file" in refused.what and refused.line == line


def test_a_broken_last_line_that_is_whole_is_only_quarantined(tmp_path: Path) -> None:
    assert read(tmp_path, b'{"text": "a"}\n{"text": NaN}')[1].problem.code == "not-json"


def test_a_broken_document_is_refused_with_its_line(tmp_path: Path) -> None:
    assert refusal(tmp_path, b'[\n{"text": "a"},\n{"text": NaN}\n]').line == 3


@pytest.mark.parametrize("content", [b"", b"  \n\n \n", b"\xef\xbb\xbf", b"[]", b"[ ]"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(tmp_path, content)


def test_a_character_across_two_blocks_is_still_utf8(tmp_path: Path) -> None:
    content = b'{"text": "' + b"x" * ((4 << 20) - 11) + "é".encode() + b'"}\n'
    assert len(read(tmp_path, content)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04rest",
        b"\x1f\x8brest",
        b"\x28\xb5\x2f\xfdrest",
        b"PAR1rest",
        b"ARROW1rest",
        b"a \0 byte",
        b"%PDF-1.7 ...",
    ],
)
def test_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    refusal(tmp_path, content)


def test_names_only_help_to_say_no(tmp_path: Path) -> None:
    assert read(tmp_path, b'{"text": "a"}\n', "rows.txt")[0].value == {"text": "a"}
    assert refusal(tmp_path, b"hello world", "rows.jsonl").line == 1
    assert "xml" in refusal(tmp_path, b"<a>b</a>", "rows.xml").what
    assert read(tmp_path, b"[link](http://x) first\n", "notes.md")[0].value["text"].startswith("[link]")


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    assert "max_file_megabytes" in refusal(tmp_path, b"x" * 2_200_000, max_file_megabytes=2).remedy


def test_text_becomes_blocks_of_paragraphs(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {i}. " + "word " * 60 for i in range(6)]
    records = read(tmp_path, "\n\n".join(paragraphs).encode() + b"\n\n" + b"y" * 9000, "a.txt")
    texts = [record.value["text"] for record in records]
    assert [record.line for record in records[:3]] == [1, 5, 9]
    assert all(len(text) <= MAX_BLOCK_CHARS for text in texts)
    assert "".join(texts).count("word") == 360 and "".join(texts).count("y") == 9000
