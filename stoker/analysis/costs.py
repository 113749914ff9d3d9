"""What runs have cost: energy from a card's readings, money from prices. Pure; unknown stays unknown and is never 0."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stoker.spec.costs import CostSpec

JOULES_PER_KWH = 3.6e6
MAX_GAP_SECONDS = 150.0
"""Power readings further apart (old ones are a minute apart) say nothing of what lies between."""
LEAST_COVERED = 0.9
"""Share of a stretch that readings must cover; the rest is taken to be like it."""
Series = tuple[Sequence[int], Sequence[float]]


@dataclass(frozen=True)
class Energy:
    """Joules of a stretch and where they are from: the card's counter, or its power integrated."""

    joules: float
    source: str


def energy_between(counter: Series, power: Series, begin: float, end: float) -> Energy | None:
    """Return the energy from `begin` to `end`, None when the readings do not cover it.

    The counter (joules, growing) is read at both ends, so gaps within don't matter; where it is absent or was set back, the
    power (watts) is integrated by the trapezoid rule.
    """
    if end <= begin:
        return Energy(0.0, "counter" if counter[0] else "power")
    counted = _counted(*counter, begin, end)
    if counted is not None:
        return Energy(counted, "counter")
    integrated = _integrated(*power, begin, end)
    return None if integrated is None else Energy(integrated, "power")


def price(record: Mapping[str, Any], spec: CostSpec) -> dict[str, Any]:
    """Return `amount`, `per_thousand` (examples) and `currency` of a run's cost, or why the amount is `unknown`.

    `record` has joules, occupied_seconds and rows; the prices are today's.
    """
    parts: list[float] = []
    unknown = None
    if spec.price_per_kwh == "unknown" and spec.price_per_hour == "unknown":
        unknown = "no price is set; for example: stoker config set cost.price_per_kwh 0.30"
    if spec.price_per_kwh != "unknown":
        if record["joules"] is None:
            unknown = "its energy is unknown"
        else:
            parts.append(record["joules"] / JOULES_PER_KWH * spec.price_per_kwh)
    if spec.price_per_hour != "unknown":
        if record["occupied_seconds"] is None:
            unknown = "how long it took is unknown"
        else:
            parts.append(record["occupied_seconds"] / 3600 * spec.price_per_hour)
    amount = None if unknown else sum(parts)
    per_thousand = 1000 * amount / record["rows"] if amount is not None and record["rows"] else None
    return {"amount": amount, "per_thousand": per_thousand, "currency": spec.currency, "unknown": unknown}


def total(records: Sequence[Mapping[str, Any]], prices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up runs: what is known, and of how many runs it is not."""
    joules = [record["joules"] for record in records if record["joules"] is not None]
    amounts = [found["amount"] for found in prices if found["amount"] is not None]
    rows = sum(record["rows"] for record in records)
    amount = sum(amounts) if amounts else None
    is_whole = len(amounts) == len(records)
    return {
        "runs": len(records),
        "rows": rows,
        "step_seconds": sum(record["step_seconds"] for record in records),
        "joules": sum(joules) if joules else None,
        "unknown_energy": len(records) - len(joules),
        "amount": amount,
        "per_thousand": 1000 * amount / rows if amount is not None and is_whole and rows else None,
        "unknown_cost": len(records) - len(amounts),
    }


def _counted(ats: Sequence[int], values: Sequence[float], begin: float, end: float) -> float | None:
    if not ats or ats[0] > begin or ats[-1] < end:
        return None
    first, last = bisect_right(ats, begin) - 1, bisect_left(ats, end)
    within = values[first : last + 1]
    if any(not later >= earlier for earlier, later in pairwise(within)):
        return None
    return _at(ats, values, end) - _at(ats, values, begin)


def _integrated(ats: Sequence[int], values: Sequence[float], begin: float, end: float) -> float | None:
    joules = covered = 0.0
    first = max(bisect_right(ats, begin) - 1, 0)
    window = range(first, min(bisect_left(ats, end) + 1, len(ats)))
    for a, b in pairwise(window):
        low, high = max(begin, ats[a]), min(end, ats[b])
        is_known = values[a] == values[a] and values[b] == values[b]
        if high > low and ats[b] - ats[a] <= MAX_GAP_SECONDS and is_known:
            joules += (high - low) * (_at(ats, values, low) + _at(ats, values, high)) / 2
            covered += high - low
    return joules * (end - begin) / covered if covered >= LEAST_COVERED * (end - begin) else None


def _at(ats: Sequence[int], values: Sequence[float], moment: float) -> float:
    """Return the value at a moment within the series, between two readings on the line through them."""
    after = bisect_left(ats, moment)
    if ats[after] == moment:
        return values[after]
    share = (moment - ats[after - 1]) / (ats[after] - ats[after - 1])
    return values[after - 1] + share * (values[after] - values[after - 1])
