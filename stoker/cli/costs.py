"""`stoker run costs`, and a run's cost in words: time, energy, money, and what of it is unknown."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table
from stoker.cli.lab import open_reader

if TYPE_CHECKING:
    from stoker.spec.costs import CostSpec
    from stoker.store.reader import Reader

_NO_ENERGY = {
    "gap": "readings are missing for a part of it",
    "none": "not measured yet",
}


class By(enum.StrEnum):
    RUN = "run"
    DATASET = "dataset"
    DAY = "day"


_KEYS: dict[By, Callable[[Mapping[str, Any]], str]] = {
    By.RUN: lambda record: record["run"],
    By.DATASET: lambda record: record["dataset"],
    By.DAY: lambda record: (
        "-" if record["ended"] is None else time.strftime("%Y-%m-%d", time.localtime(record["ended"]))
    ),
}


def costs(
    by: Annotated[By, typer.Option(help="One line for each run, dataset, or day on which runs ended.")] = By.RUN,
    as_json: AsJson = False,
) -> None:
    """Show what training has cost: seconds, energy, money. What is unknown is said, not counted as 0."""
    from stoker.analysis.costs import total

    reader = open_reader()
    records = reader.costs()
    prices = priced(reader, records)
    groups: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(_KEYS[by](record), []).append(index)
    found = [
        {by.value: key, **total([records[i] for i in members], [prices[i] for i in members])}
        for key, members in groups.items()
    ]
    if as_json:
        runs = [record | {"cost": cost} for record, cost in zip(records, prices, strict=True)]
        print_json(runs if by is By.RUN else found)
        return
    currency = prices[0]["currency"] if prices else ""
    numbers = ("runs", "examples", "seconds of steps", "energy", currency, "per 1,000")
    everything = [{by.value: "all", **total(records, prices)}] if len(found) > 1 else []
    print_table((by.value, *numbers), [_row(by, one) for one in [*found, *everything]], numbers=numbers)
    if not records:
        note("no run has begun yet; run: stoker train FILE")
    elif reasons := sorted({cost["unknown"] for cost in prices if cost["unknown"]}):
        note(f"unknown cost: {'; '.join(reasons)}")


def priced(reader: Reader, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each record's price under the lab's settings."""
    from stoker.analysis.costs import price

    spec = _prices(reader)
    return [price(record, spec) for record in records]


def cost_facts(reader: Reader, run_id: str) -> list[tuple[str, str | None]]:
    """Return the lines of `stoker run show` on a run's cost; none before it has begun."""
    records = reader.costs(run_id)
    if not records:
        return []
    (record,), (cost,) = records, priced(reader, records)
    return [("compute", _compute(record)), ("energy", _energy(record)), ("cost", _money(cost))]


def _prices(reader: Reader) -> CostSpec:
    from stoker.spec.reading import read_settings

    return read_settings(reader.workspace.settings).cost


def _compute(record: Mapping[str, Any]) -> str:
    where = record["device"] or "a device that was not recorded"
    if where == "cpu" and record["threads"]:
        where = f"the CPU ({record['threads']} thread{'' if record['threads'] == 1 else 's'})"
    text = f"{units.duration(record['step_seconds'])} of steps on {where}"
    return f"{text}, {1000 * record['step_seconds'] / record['rows']:.3g} ms an example" if record["rows"] else text


def _energy(record: Mapping[str, Any]) -> str:
    if record["joules"] is None:
        is_gpu = (record["device"] or "").startswith("cuda")
        return f"unknown: {_NO_ENERGY[record['source']] if is_gpu else 'only a GPU measures it'}"
    source = {"counter": "the card's counter", "power": "its power, integrated"}[record["source"]]
    text = f"{units.energy(record['joules'])} ({source})"
    return f"{text}, {record['joules'] / record['rows']:.3g} J an example" if record["rows"] else text


def _money(cost: Mapping[str, Any]) -> str:
    if cost["amount"] is None:
        return f"unknown: {cost['unknown']}"
    text = f"{cost['amount']:.4g} {cost['currency']}"
    return text if cost["per_thousand"] is None else f"{text}, {cost['per_thousand']:.3g} per 1,000 examples"


def _row(by: By, found: Mapping[str, Any]) -> tuple[Any, ...]:
    energy = None if found["joules"] is None else units.energy(found["joules"])
    money = None if found["amount"] is None else f"{found['amount']:.4g}"
    per_thousand = None if found["per_thousand"] is None else f"{found['per_thousand']:.3g}"
    return (
        found[by.value], found["runs"], units.count(found["rows"]), f"{found['step_seconds']:,.1f}",
        _partly(energy, found["unknown_energy"]), _partly(money, found["unknown_cost"]), per_thousand,
    )  # fmt: skip


def _partly(text: str | None, num_unknown: int) -> str:
    """ "1.2 Wh", "unknown", or what is known with the number of runs of which it is not."""
    if text is None:
        return "unknown"
    return f"{text} + {num_unknown} unknown" if num_unknown else text
