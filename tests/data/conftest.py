"""A lab in a temporary folder, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_lab import SmallLab


@pytest.fixture
def lab(tmp_path: Path) -> SmallLab:
    return SmallLab(tmp_path)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--corpus", action="store_true", help="take every malformed file in (tests/data)")
