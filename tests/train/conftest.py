import gc

import pytest
from lab_fixtures import first, lab  # noqa: F401
from train_lab import make_dataset

from stoker.train import line


@pytest.fixture(scope="session", autouse=True)
def libraries_are_not_collected():
    """Trainer collects garbage at each start; the libraries' objects need not be walked each time."""
    import transformers.trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def forgotten():
    line.forget_live()
    yield
    line.forget_live()


@pytest.fixture(scope="module")
def second(lab):  # noqa: F811
    return make_dataset(lab, 2, rows=36)
