"""What training has cost, by run, dataset and day; what is unknown is said."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.store import tables as t
from stoker.store.store import Store


@pytest.fixture
def spent(history: Any) -> Any:
    """A run of the lab took 30 s of steps in 36 s, and 7.2 kJ."""
    store = Store(history.store)
    store.claim()
    values = {"gpu_seconds": 30.0, "rows": 1000, "tokens": 9, "stretches": [[1, 1.7e9, 1.7e9 + 36]], "joules": 7200.0}
    with store.transaction() as tx:
        tx.execute(t.run_costs.insert().values(run="r1", device="cuda", source="counter", **values))
    store.close()
    return history


def test_without_a_price_the_cost_is_unknown_with_the_command_that_sets_one(stoker: Any, spent: Any) -> None:
    out = " ".join(stoker("run", "show", "r1").out.split())
    assert "compute 30 s of steps on cuda, 30 ms an example" in out
    assert "energy 2 Wh (the card's counter), 7.2 J an example" in out
    assert "unknown: no price is set; for example: stoker config set cost.price_per_kwh 0.30" in out
    assert stoker("run", "show", "r1", "--json").json()["cost"]["amount"] is None


def test_prices_of_the_settings_make_a_cost(stoker: Any, spent: Any) -> None:
    assert stoker("config", "set", "cost.price_per_kwh", "0.5").code == 0
    assert stoker("config", "set", "cost.price_per_hour", "1").code == 0
    assert stoker("config", "set", "cost.currency", "CHF").code == 0
    assert "0.011 CHF, 0.011 per 1,000 examples" in stoker("run", "show", "r1").out
    (run,) = stoker("run", "costs", "--json").json()
    assert run["cost"]["amount"] == pytest.approx(0.5 * 7200 / 3.6e6 + 36 / 3600)


@pytest.mark.parametrize(("by", "key"), [("dataset", "d0123456789ab"), ("day", "2023-11-1"), ("run", "r1")])
def test_costs_are_shown_by_run_by_dataset_and_by_day(stoker: Any, spent: Any, by: str, key: str) -> None:
    line = stoker("run", "costs", "--by", by).out.splitlines()[1]
    assert line.startswith(key) and "2 Wh" in line and "unknown" in line


def test_a_price_out_of_range_is_refused_with_the_rule(stoker: Any, spent: Any) -> None:
    refused = stoker("config", "set", "cost.price_per_kwh", "2000000")
    assert refused.code == 5 and "cost.price_per_kwh" in refused.err


def test_a_lab_without_runs_says_how_to_get_one(stoker: Any, lab: Any) -> None:
    answer = stoker("run", "costs")
    assert answer.code == 0 and "stoker train FILE" in answer.err
