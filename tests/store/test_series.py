"""Series: each point once, blocks that nobody sees, any length at a wanted number of points."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from stoker.errors import NotFound
from stoker.store import series, series_queries
from stoker.store import tables as t
from stoker.store.store import Store, Transaction

BLOCK = series.BLOCK


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Transaction]:
    store = Store(tmp_path / "store.db")
    store.claim()
    with store.transaction() as transaction:
        yield transaction
    store.close()


def put(tx: Transaction, first: int, last: int, scale: float = 1.0, name: str = "loss") -> None:
    series.put_points(tx, "r1", ((name, at, at * scale) for at in range(first, last)))


def loaded(tx: Transaction, name: str = "loss", **limits: int) -> dict[int, float]:
    return dict(zip(*series_queries.load(tx.connection, "r1", name, **limits), strict=True))


def counts(tx: Transaction) -> tuple[int, int]:
    """Rows that hold points one by one, and blocks."""
    return tx.scalar(select(func.count()).select_from(t.points)), tx.scalar(select(func.count()).select_from(t.blocks))


def test_a_whole_block_becomes_one_row_and_reads_as_before(tx: Transaction) -> None:
    for first in range(0, 2 * BLOCK + 100, 1000):
        put(tx, first, min(first + 1000, 2 * BLOCK + 100))
    assert counts(tx) == (100, 2)
    assert loaded(tx) == {at: float(at) for at in range(2 * BLOCK + 100)}
    assert loaded(tx, first=BLOCK - 1, last=BLOCK + 1) == {at: float(at) for at in range(BLOCK - 1, BLOCK + 2)}


def test_a_series_with_wide_steps_is_blocked_too(tx: Transaction) -> None:
    series.put_points(tx, "r1", (("grad_norm/layer", at, 1.0) for at in range(10, 3 * BLOCK, 10)))
    assert counts(tx)[1] == 2
    assert list(loaded(tx, "grad_norm/layer")) == list(range(10, 3 * BLOCK, 10))


def test_a_point_written_again_replaces_the_one_in_a_block_before_and_after_it_is_blocked_itself(
    tx: Transaction,
) -> None:
    put(tx, 0, BLOCK + 10)
    put(tx, 5, 6, scale=-1.0)
    assert loaded(tx)[5] == -5.0 and len(loaded(tx)) == BLOCK + 10
    put(tx, BLOCK + 10, BLOCK + 11)
    assert loaded(tx)[5] == -5.0 and counts(tx) == (11, 1)


@pytest.mark.parametrize("kept", [-1, 0, 100, BLOCK - 1, BLOCK, BLOCK + 50, 3 * BLOCK])
def test_what_is_forgotten_is_gone_from_blocks_and_points_and_the_series_goes_on(tx: Transaction, kept: int) -> None:
    put(tx, 0, 2 * BLOCK + 100)
    put(tx, 0, 2 * BLOCK + 100, name="grad_norm")
    series.forget_after(tx, "r1", kept)
    assert list(loaded(tx)) == list(range(min(kept + 1, 2 * BLOCK + 100)))
    put(tx, kept + 1, 3 * BLOCK + 5, scale=2.0)
    before = {at: float(at) for at in range(min(kept + 1, 2 * BLOCK + 100))}
    assert loaded(tx) == before | {at: 2.0 * at for at in range(kept + 1, 3 * BLOCK + 5)}
    assert set(loaded(tx, "grad_norm")) == set(range(min(kept + 1, 2 * BLOCK + 100)))


def test_values_that_are_not_finite_stay_gaps_in_points_and_in_blocks(tx: Transaction) -> None:
    series.put_points(tx, "r1", [("loss", 1, None), ("loss", 2, math.inf), ("loss", 3, 1.0), ("loss", BLOCK, math.nan)])
    assert counts(tx) == (1, 1)
    found = series_queries.series(tx.connection, "r1", ["loss"])["loss"]
    assert found == {"num_points": 4, "at": [1, 2, 3, BLOCK], "value": [None, None, 1.0, None]}


def test_a_long_series_is_drawn_with_the_points_asked_for_its_peak_its_ends_and_its_gaps(tx: Transaction) -> None:
    peak, gap = 12_345, range(15_000, 15_020)
    rows = ((at, math.sin(at / 500) + 9 * (at == peak) if at not in gap else None) for at in range(20_000))
    series.put_points(tx, "r1", (("loss", at, value) for at, value in rows))
    found = series_queries.series(tx.connection, "r1", ["loss"], points=200)["loss"]
    drawn = dict(zip(found["at"], found["value"], strict=True))
    assert found["num_points"] == 20_000 and len(drawn) <= 200
    assert {0, peak, 19_999} <= set(drawn)
    assert [at for at, value in drawn.items() if value is None] == [15_000]
    assert found["at"] == sorted(found["at"])


def test_a_series_of_gaps_alone_and_an_empty_one_are_no_failure(tx: Transaction) -> None:
    series.put_points(tx, "r1", (("loss", at, None) for at in range(5000)))
    assert series_queries.series(tx.connection, "r1", points=100)["loss"]["value"] == [None]
    assert series_queries.series(tx.connection, "r2") == {}


def test_a_name_that_was_never_measured_is_refused_with_those_that_were(tx: Transaction) -> None:
    put(tx, 0, 3)
    with pytest.raises(NotFound, match=r"no series 'lost'.*it has: loss"):
        series_queries.series(tx.connection, "r1", ["lost"])


def test_each_step_is_one_record_with_counts_as_whole_numbers(tx: Transaction) -> None:
    series.put_points(tx, "r1", [("loss", 1, 2.0), ("tokens", 1, 100), ("loss", 2, None), ("heldout_loss", 2, 1.0)])
    empty: dict[str, Any] = dict.fromkeys(series_queries.STEP_NAMES)
    first, second = series_queries.metrics(tx.connection, "r1")
    assert first == {"step": 1, **empty, "loss": 2.0, "tokens": 100} and isinstance(first["tokens"], int)
    assert second == {"step": 2, **empty}
    assert series_queries.metrics(tx.connection, "r1", after_step=1) == [second]


def test_old_blocks_are_thinned_to_means_once_and_removed_in_the_end(tx: Transaction) -> None:
    series.put_points(tx, series.MACHINE, (("cpu", at, float(at % 60)) for at in range(0, 3 * BLOCK, 5)))
    done = series.thin_before(tx, series.MACHINE, 2 * BLOCK, 60, 0)
    ats, values = series_queries.load(tx.connection, series.MACHINE, "cpu")
    assert done == 2 and sum(at < 2 * BLOCK for at in ats) <= 2 * BLOCK // 60 + 3
    assert values[1] == 27.5 and sum(at >= 2 * BLOCK for at in ats) == len(range(2 * BLOCK + 3, 3 * BLOCK, 5))
    assert series.thin_before(tx, series.MACHINE, 2 * BLOCK, 60, done) == 2
    series.remove_before(tx, series.MACHINE, 2 * BLOCK)
    assert min(series_queries.load(tx.connection, series.MACHINE, "cpu")[0]) >= 2 * BLOCK


def test_what_the_machine_measured_last_is_read_without_numpy(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from stoker.store.store import Store; from stoker.store import series, series_queries as q\n"
        f"store = Store(Path({str(tmp_path / 's.db')!r})); store.claim()\n"
        "with store.transaction() as tx:\n"
        "    series.put_points(tx, 'machine', [('cpu', 100, 1.0), ('cpu', 105, 2.0), ('ram', 105, 3.0)])\n"
        "    assert q.machine(tx.connection, 50.0) == {'time': 105, 'cpu': 2.0, 'ram': 3.0}\n"
        "    assert q.machine(tx.connection, 106.0) == {'time': None}\n"
        "    q.series(tx.connection, 'machine'), q.metrics(tx.connection, 'r1')\n"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
