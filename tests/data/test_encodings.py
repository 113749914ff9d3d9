"""Encodings: UTF-8 is proven, UTF-16 recognised, and a legacy code page is a person's to name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from reading import opened, read, refusal

from stoker.spec.lab import IntakeSpec

GERMAN = '{"text": "ein Satz"}\n{"text": "größer und schöner, natürlich für Jürgen"}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_recognised(tmp_path: Path, encoding: str) -> None:
    records = read(tmp_path, GERMAN.encode(encoding))
    assert [record.value["text"] for record in records] == ["ein Satz", "größer und schöner, natürlich für Jürgen"]


def test_another_encoding_than_utf8_is_told(tmp_path: Path) -> None:
    assert opened(tmp_path, GERMAN.encode("utf-16"), "rows.jsonl").notes == ["rows.jsonl was read as utf-16"]
    assert opened(tmp_path, GERMAN.encode(), "rows.jsonl").notes == []


def test_a_code_page_is_refused_with_line_and_a_preview_of_the_guesses(tmp_path: Path) -> None:
    refused = refusal(tmp_path, GERMAN.encode("cp1252"))
    assert refused.line == 2 and "byte offset 33" in refused.what and "iconv -f cp125" in refused.remedy
    assert "intake.encoding" in refused.remedy
    previews = "\n".join(refused.findings)
    assert "as cp1252: " in previews and "größer" in previews and "as cp1251: " in previews and "grцЯer" in previews


def test_a_code_page_that_is_named_is_used_for_what_is_not_unicode(tmp_path: Path) -> None:
    assert "größer" in read(tmp_path, GERMAN.encode("cp1252"), encoding="cp1252")[1].value["text"]
    assert "größer" in read(tmp_path, GERMAN.encode(), encoding="cp1251")[1].value["text"]
    assert "is not ascii" in refusal(tmp_path, GERMAN.encode("cp1252"), encoding="ascii").what


def test_a_code_page_must_exist() -> None:
    with pytest.raises(ValidationError, match="no known encoding"):
        IntakeSpec(encoding="cp99999")


def test_a_broken_surrogate_in_utf16_is_refused(tmp_path: Path) -> None:
    content = '{"text": "a"}\n'.encode("utf-16") + b"\x00\xd8\x41\x00"
    assert "utf-16" in refusal(tmp_path, content).what
