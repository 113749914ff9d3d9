"""Energy from readings and money from prices, with what is unknown kept unknown."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.analysis.costs import energy_between, price, total
from stoker.spec.costs import CostSpec

NONE: Any = ([], [])


def every(seconds: int, last: int, per_second: float) -> Any:
    ats = list(range(0, last + 1, seconds))
    return ats, [at * per_second for at in ats]


def test_the_counter_is_read_at_both_ends_between_its_readings() -> None:
    found = energy_between(every(5, 100, 300.0), NONE, 12.5, 21.0)
    assert found is not None and found.source == "counter" and found.joules == pytest.approx(8.5 * 300)


def test_the_counter_needs_no_readings_in_between() -> None:
    found = energy_between(([0, 5000], [10.0, 110.0]), NONE, 0.0, 5000.0)
    assert found is not None and found.joules == 100.0


def test_without_a_counter_or_after_it_was_set_back_power_is_integrated() -> None:
    power = ([0, 10, 20], [100.0, 200.0, 200.0])
    set_back = ([0, 10, 20], [5000.0, 9000.0, 3.0])
    for counter in (NONE, set_back):
        found = energy_between(counter, power, 5.0, 15.0)
        assert found is not None and found.source == "power"
        assert found.joules == pytest.approx(5 * 175 + 5 * 200)


@pytest.mark.parametrize(
    "power",
    [NONE, ([0, 10], [100.0, 100.0]), ([0, 500], [100.0, 100.0]), ([0, 50, 100], [100.0, float("nan"), 100.0])],
)
def test_readings_that_do_not_cover_a_stretch_give_no_energy(power: Any) -> None:
    assert energy_between(NONE, power, 0.0, 100.0) is None


def test_a_few_missing_seconds_are_taken_to_be_like_the_rest() -> None:
    found = energy_between(NONE, ([5, 50, 100], [100.0, 100.0, 100.0]), 0.0, 100.0)
    assert found is not None and found.joules == pytest.approx(10_000)


def record(**values: Any) -> dict[str, Any]:
    return {"joules": 3.6e6, "occupied_seconds": 1800.0, "rows": 500, "step_seconds": 1500.0} | values


@pytest.mark.parametrize(
    ("prices", "amount"),
    [
        ({"price_per_kwh": 0.3}, 0.3),
        ({"price_per_hour": 2.0}, 1.0),
        ({"price_per_kwh": 0.3, "price_per_hour": 2.0}, 1.3),
    ],
)
def test_each_price_of_the_settings_counts(prices: dict[str, float], amount: float) -> None:
    found = price(record(), CostSpec(**prices, currency="CHF"))
    assert found["amount"] == pytest.approx(amount) and found["per_thousand"] == pytest.approx(2 * amount)
    assert (found["currency"], found["unknown"]) == ("CHF", None)


def test_what_is_unknown_is_said_and_is_not_zero() -> None:
    assert "no price is set" in price(record(), CostSpec())["unknown"]
    both = price(record(joules=None), CostSpec(price_per_kwh=0.3, price_per_hour=1.0))
    assert (both["amount"], both["unknown"]) == (None, "its energy is unknown")
    assert price(record(rows=0), CostSpec(price_per_hour=2.0))["per_thousand"] is None


def test_a_total_says_of_how_many_runs_something_is_unknown() -> None:
    records = [record(), record(joules=None)]
    found = total(records, [price(one, CostSpec(price_per_kwh=1.0)) for one in records])
    assert (found["runs"], found["rows"], found["joules"], found["unknown_energy"]) == (2, 1000, 3.6e6, 1)
    assert (found["amount"], found["unknown_cost"], found["per_thousand"]) == (1.0, 1, None)
