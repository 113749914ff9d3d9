"""Tests of the worker drive the same small lab as the tests of training."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from lab_fixtures import first, lab  # noqa: F401
