import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def libraries_are_not_collected():
    """Trainer collects garbage at each start; the libraries' objects need not be walked each time."""
    import transformers.trainer  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
