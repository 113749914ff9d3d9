"""The fixtures of `train_lab` that tests of training and of the worker share: a lab, and its first file."""

from __future__ import annotations

from pathlib import Path

import pytest
from train_lab import make_dataset

from stoker.spec.jobs import DatasetRef


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def first(lab: Path) -> DatasetRef:
    return make_dataset(lab, 1)
