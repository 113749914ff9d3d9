"""A door of the inference API in an empty folder, with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_door import Clock, Open

from stoker.serve.access import Access
from stoker.serve.keyring import Keyring
from stoker.spec.serving import ServeSpec


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving"


@pytest.fixture
def keyring(serving: Path, clock: Clock) -> Keyring:
    return Keyring(serving, now=clock)


@pytest.fixture
def door(serving: Path, clock: Clock) -> Iterator[Open]:
    """Open the door with settings of [serve]; what was opened is closed at the end."""
    opened: list[Access] = []

    def open_(*, is_loopback: bool = True, **settings: Any) -> Access:
        opened.append(Access(serving, ServeSpec(**settings), is_loopback=is_loopback, now=clock))
        return opened[-1]

    yield open_
    for access in opened:
        access.close()
