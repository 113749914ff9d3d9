"""Reading bytes as intake does, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoker.data.findings import FileRefused
from stoker.data.reading.readers import Opened, open_file, read_records
from stoker.data.reading.source import Record
from stoker.spec.lab import IntakeSpec


def opened(tmp_path: Path, content: bytes, name: str = "file", **settings: Any) -> Opened:
    path, scratch = tmp_path / "content", tmp_path / "scratch"
    path.write_bytes(content)
    scratch.mkdir(exist_ok=True)
    return open_file(path, name, IntakeSpec(**settings), scratch)


def read(tmp_path: Path, content: bytes, name: str = "file", **settings: Any) -> list[Record]:
    """Return every record of a file."""
    sources = opened(tmp_path, content, name, **settings).sources
    return [record for source in sources for record in read_records(source, IntakeSpec(**settings))]


def refusal(tmp_path: Path, content: bytes, name: str = "file", **settings: Any) -> FileRefused:
    """Return why a file is refused."""
    with pytest.raises(FileRefused) as caught:
        read(tmp_path, content, name, **settings)
    assert caught.value.what and caught.value.why and caught.value.remedy
    return caught.value
