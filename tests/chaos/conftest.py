"""`pytest tests/chaos --kills N`: how many times something is killed."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=None, help="kill -9 so often (tests/chaos)")
    parser.addoption("--chaos-seed", type=int, default=None, help="seed of the moments (tests/chaos)")
