"""Plain chats read many at a time are what reading them one by one gives: rows, lines, problems and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.data.findings import FileRefused, RowProblem
from stoker.data.formats.plain import content_of, decode_line, decode_lines
from stoker.data.formats.recognise import convert_content
from stoker.data.reading import lines
from stoker.data.reading.readers import Chats, Record, read_jsonl, read_jsonl_chunks
from stoker.data.rows import Content


def chat(*turns: tuple[str, str]) -> bytes:
    return orjson.dumps({"messages": [{"role": role, "content": words} for role, words in turns]})


PAIR = chat(("user", "What is it?"), ("assistant", "A lamp."))
SYSTEM = chat(("system", "Be kind."), ("user", "What is it?"), ("assistant", "A lamp."))
# Each in the place of a row: what JSON parsers disagree on, what is another shape, and what is laid out in another way.
ODD = [
    b"", b"  ", b"\r", b"null", b"{}", b"[]", b"3", b"NaN", b"{", b"[" * 1200,
    PAIR + b"\r", b" " + PAIR, PAIR + b" ", PAIR + b",", PAIR + PAIR, PAIR + b"," + PAIR, b"\xef\xbb\xbf" + PAIR,
    b'{"messages":[{"role":"user","content":"half', b'{"messages":[{"role":"user","content":"a"}', b"]}",
    b'{"role":"assistant","content":"c"}]}', b'{"messages":[]}', b'{"messages":null}', b'{"messages":NaN}',
    PAIR.replace(b"lamp", b"\\ud800"), PAIR.replace(b"lamp", b"\\udc00"), PAIR.replace(b"lamp", b"\\ud83d\\ude00"),
    PAIR.replace(b"lamp", b"\\ud800\\u0041"), PAIR.replace(b"lamp", b"\\u0000"), PAIR.replace(b"lamp", b"\\x"),
    PAIR.replace(b"lamp", b"\t"), PAIR.replace(b"lamp", b"\x1f"), PAIR.replace(b"lamp", b"\x7f\xc2\x80"),
    PAIR.replace(b"lamp", b"\xff"), PAIR.replace(b"lamp", b"\xed\xa0\x80"), PAIR.replace(b"lamp", b"\xc0\x80"),
    PAIR.replace(b"lamp", b"\xf4\x90\x80\x80"), PAIR.replace(b"lamp", b"\xe2\x80"), PAIR.replace(b"lamp", b"{[" * 80),
    PAIR.replace(b"A lamp.", b""), PAIR.replace(b"A lamp.", b" \\n"), PAIR.replace(b"A lamp.", b"\\u2003"),
    PAIR.replace(b"What is it?", b""), SYSTEM.replace(b"Be kind.", b""), SYSTEM.replace(b"Be kind.", b" "),
    PAIR.replace(b'"assistant"', b'"gpt"'), PAIR.replace(b'"user"', b'"developer"'), PAIR.replace(b'"user"', b'"tool"'),
    PAIR.replace(b'"user"', b'"assistant"'), PAIR.replace(b'"assistant"', b'"user"'), PAIR.replace(b'"user"', b"7"),
    PAIR.replace(b'"A lamp."', b"null"), PAIR.replace(b'"A lamp."', b"12345678901234567890123"),
    PAIR.replace(b'"A lamp."', b"[" * 70 + b"]" * 70), PAIR.replace(b'"A lamp."', b'["A ","lamp."]'),
    PAIR.replace(b'"role"', b'"role":"x","role"'), PAIR.replace(b'"content"', b'"content":3,"content"'),
    PAIR.replace(b'{"messages"', b'{"messages":[],"messages"'), PAIR.replace(b'{"messages"', b'{"messages":3,"messages"'),
    PAIR.replace(b"messages", b"mess\\u0061ges"), PAIR.replace(b"role", b"r\\u006fle"), PAIR.replace(b"messages", b"Messages"),
    PAIR.replace(b"messages", b"moments"), PAIR[:-1] + b',"id":1}', PAIR[:-1] + b',"n":1e999}', PAIR[:-1] + b',"tools":[]}',
    PAIR.replace(b"]}", b",]}"), PAIR.replace(b"]}", b"],}"), PAIR.replace(b'"}]', b'","weight":0}]'),
    PAIR.replace(b'{"messages":[', b'{"messages" : [ '), PAIR.replace(b":", b" : ").replace(b",", b" ,\t"),
    b'{"messages":[{"content":"a","role":"user"},{"content":"b","role":"assistant"}]}',
    b'{"question":"a","answer":"b"}', b'{"text":"a"}', b'{"messages":"a"}', b'{"messages":{"role":"user"}}',
]  # fmt: skip
WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
CHATS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), WORDS), max_size=4).map(
    lambda turns: chat(*turns)
)
LINES = st.lists(st.one_of(st.just(PAIR), st.just(SYSTEM), CHATS, st.sampled_from(ODD)), max_size=8)


def taken(record: Record) -> Any:
    """Return what becomes of a record: its content and format, or the problem."""
    problem = record.problem
    if problem is None:
        try:
            content, shape = convert_content(record.value)
        except RowProblem as found:
            problem = found
        else:
            return record.line, content, shape.format, shape.unused
    return record.line, problem.code, problem.reason, record.raw


def outcome(path: Path, read: Any, max_bytes: int) -> tuple[list[Any], str | None]:
    found: list[Any] = []
    try:
        for one in read(path, "rows.jsonl", max_bytes):
            if isinstance(one, Chats):
                found += [(i, content_of(chat), "messages", ()) for i, chat in enumerate(one.chats, one.line)]
            else:
                found.append(taken(one))
    except FileRefused as refusal:
        return found, str(refusal)
    return found, None


@pytest.mark.parametrize("line", ODD)
def test_an_odd_line_is_taken_as_it_is_alone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    for around in (
        [PAIR, line, PAIR],
        [line, PAIR, SYSTEM],
        [PAIR, PAIR, line],
        [line, line],
        [PAIR, PAIR, line, line],
    ):
        path.write_bytes(b"\n".join(around))
        assert outcome(path, read_jsonl_chunks, 1 << 20) == outcome(path, read_jsonl, 1 << 20)


@given(
    LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.integers(40, 400), st.integers(60, 2000)
)
@settings(max_examples=300)
def test_chunks_hold_what_single_records_do(
    tmp_path_factory: pytest.TempPathFactory, given_lines: list[bytes], end: bytes, is_ended: bool, has_bom: bool,
    block_bytes: int, max_bytes: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "chunks.jsonl"
    content = end.join(given_lines) + (end if is_ended else b"")
    path.write_bytes(lines.BOM + content if has_bom else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", block_bytes)
        assert outcome(path, read_jsonl_chunks, max_bytes) == outcome(path, read_jsonl, max_bytes)


@given(st.lists(CHATS, min_size=1))
def test_a_block_is_plain_when_each_of_its_lines_is(chats: list[bytes]) -> None:
    found = decode_lines(b"\n".join(chats))
    alone = [decode_line(line) for line in chats]
    if found is None:
        assert None in alone
    else:
        assert [content_of(chat) for chat in found] == [content_of(chat) for chat in alone if chat is not None]


def test_rows_laid_out_over_lines_are_not_taken_for_rows() -> None:
    middle = PAIR.index(b"},{") + 2
    assert decode_lines(PAIR[:middle] + b"\n" + PAIR[middle:] + b"\n" + PAIR + PAIR) is None
    assert decode_lines(PAIR + PAIR + b"\n" + PAIR[:middle] + b"\n" + PAIR[middle:]) is None


def test_most_chats_are_plain() -> None:
    assert decode_lines(PAIR + b"\n" + PAIR + b"\n") is not None
    found = decode_lines(PAIR + b"\n" + SYSTEM)
    assert found is not None and content_of(found[1]) == Content(tuple(orjson.loads(SYSTEM)["messages"]))
