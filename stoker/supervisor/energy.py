"""The energy of runs on a GPU, from the card's readings, a little more with each of them.

What a worker spends on a run, loading and saving included, is the card's energy while it was on it; another program on the
same card is counted with it. A run has no energy once readings for a part of it are missing: "gap", never a guess.
"""

from __future__ import annotations

from sqlalchemy import Row, select, update

from stoker.analysis.costs import MAX_GAP_SECONDS, Energy, energy_between
from stoker.hardware.gpus import gpu_of
from stoker.store import tables as t
from stoker.store.series import MACHINE
from stoker.store.series_queries import load
from stoker.store.store import Transaction

KEPT_OPEN_SECONDS = 3600.0
"""A run that ended longer ago without being measured to its end stays without energy."""


def measure_runs(transaction: Transaction) -> None:
    """Bring the energy of every run on a GPU up to the last reading."""
    c = t.run_costs
    for row in transaction.rows(select(c).where(c.c.device.like("cuda%"), c.c.source != "gap")):
        end = max((end for _, _, end in row.stretches), default=0.0)
        if row.measured_to < end:
            _measure(transaction, row)


def _measure(transaction: Transaction, row: Row[tuple[object, ...]]) -> None:
    gpu = gpu_of(row.device)
    joules, source, measured_to = row.joules, row.source, row.measured_to
    for _, begun, to in row.stretches:
        begin, ended = max(begun, measured_to), min(to, float(int(transaction.now)))
        if ended <= begin:
            continue
        found = None if gpu is None else _energy(transaction, gpu, begin, ended)
        if found is None:
            if gpu is None or transaction.now - ended > KEPT_OPEN_SECONDS:
                joules, source, measured_to = None, "gap", ended
            break
        joules = (joules or 0.0) + found.joules
        source, measured_to = ("power" if "power" in (source, found.source) else "counter"), ended
    if measured_to != row.measured_to:
        values = {"joules": joules, "source": source, "measured_to": measured_to}
        transaction.execute(update(t.run_costs).where(t.run_costs.c.run == row.run).values(**values))


def _energy(transaction: Transaction, gpu: int, begin: float, end: float) -> Energy | None:
    """Return the energy of a part of a stretch; None while readings on both its sides are missing."""
    around = {"first": int(begin - MAX_GAP_SECONDS), "last": int(end + MAX_GAP_SECONDS)}
    counter, power = (
        load(transaction.connection, MACHINE, f"gpu{gpu}.{name}", **around) for name in ("energy", "power")
    )
    return energy_between(counter, power, begin, end)
