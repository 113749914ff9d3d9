"""`pytest tests/chaos --kills N`: how many times something is killed. `--changes N`: how many changes a run takes. `--all-faults`: the whole table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=None, help="kill -9 so often (tests/chaos)")
    parser.addoption("--changes", type=int, default=None, help="so many changes of a run (tests/chaos)")
    parser.addoption("--chaos-seed", type=int, default=None, help="seed of the moments (tests/chaos)")
    parser.addoption("--all-faults", action="store_true", help="every fault of the table (tests/chaos)")
    parser.addoption("--record", action="store_true", help="write what came of it for RELIABILITY.md (tests/chaos)")
