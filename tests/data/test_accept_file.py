"""Accepting files into the immutable store."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from stoker.data.accept import accept_file
from stoker.errors import DataError


def test_the_copy_lies_under_its_hash_and_the_source_stays(tmp_path: Path) -> None:
    source = tmp_path / "orders.jsonl"
    source.write_bytes(b"content")
    accepted = accept_file(source, tmp_path / "files")
    assert accepted.sha256 == sha256(b"content").hexdigest() and accepted.bytes == 7 and accepted.name == "orders.jsonl"
    assert accepted.path.read_bytes() == b"content" == source.read_bytes()
    source.rename(tmp_path / "other.jsonl")
    again = accept_file(tmp_path / "other.jsonl", tmp_path / "files")
    assert again.path == accepted.path and len(list((tmp_path / "files").iterdir())) == 1


def test_only_regular_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    for name, word in (("link", "link"), ("pipe", "regular"), (".", "regular"), ("gone", "not there")):
        with pytest.raises(DataError, match=word):
            accept_file(tmp_path / name, tmp_path / "files")
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("point", ["accept.written", "accept.rename"])
def test_killed_at_any_write_it_leaves_no_half_copy(tmp_path: Path, point: str) -> None:
    source, files = tmp_path / "a", tmp_path / "files"
    source.write_bytes(b"content")
    code = f"from pathlib import Path; from stoker.data.accept import accept_file; accept_file(Path({str(source)!r}), Path({str(files)!r}))"
    killed = subprocess.run([sys.executable, "-c", code], env={"STOKER_FAULT": f"{point}:kill"}, timeout=60)
    assert killed.returncode == -9 and not list(files.glob("*/content"))
    assert accept_file(source, files).path.read_bytes() == b"content"
