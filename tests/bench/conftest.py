"""A running server of tests/bench/api_server.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from api_server import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    made = ApiServer()
    yield made
    made.close()
