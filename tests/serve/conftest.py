"""A lab that is served once for all tests that only ask it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from served_lab import Gateway, ServedLab


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[tuple[ServedLab, Gateway]]:
    """A lab with "@champion" and "main/v2" served, and its gateway. Promote nothing in it."""
    lab = ServedLab(tmp_path_factory.mktemp("served") / "lab", tiny_base)
    lab.settings(models=("@champion", "main/v2"), max_tokens=300)
    with lab.serving() as gateway:
        yield lab, gateway
    lab.close()


@pytest.fixture(scope="session")
def gateway(served: tuple[ServedLab, Gateway]) -> Gateway:
    return served[1]


@pytest.fixture
def make_lab(tmp_path: Path, tiny_base: Path) -> Iterator[Callable[..., ServedLab]]:
    """Make a lab of its own for a test."""
    made: list[ServedLab] = []

    def make(num_versions: int = 2) -> ServedLab:
        made.append(ServedLab(tmp_path / f"lab{len(made)}", tiny_base, num_versions))
        return made[-1]

    yield make
    for lab in made:
        lab.close()
