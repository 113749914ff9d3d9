"""The energy of a run: from the card that it trained on, complete or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.store import cost_queries
from stoker.store import tables as t
from stoker.store.series import MACHINE, put_points
from stoker.store.store import set_fields
from stoker.supervisor.energy import KEPT_OPEN_SECONDS, measure_runs
from stoker.supervisor.ingest import enter_run

WATTS = 200.0


@pytest.fixture(autouse=True)
def _all_cards_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def begin(lab: Any, device: str = "cuda:1") -> float:
    """Start a run; return the moment."""
    lab.dataset()
    hear(lab, "started", pid=1, device=device, threads=2, resumed_from=None)
    return float(lab.clock.now)


def hear(lab: Any, kind: str, fence: int = 1, **fields: Any) -> None:
    with lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", state="running", fence=fence)
        enter_run(tx, "r1", [{"kind": kind, "time": lab.clock.now, "fence": fence, **fields}])


def read(lab: Any, *names: str, gpu: int = 1) -> None:
    """Keep a reading of a card that takes WATTS, and measure."""
    now = lab.clock.now
    values = {"energy": WATTS * now, "power": WATTS}
    with lab.store.transaction() as tx:
        put_points(tx, MACHINE, [(f"gpu{gpu}.{name}", int(now), values[name]) for name in names])
        measure_runs(tx)


def cost(lab: Any) -> dict[str, Any]:
    with lab.store.transaction() as tx:
        return cost_queries.costs(tx.connection, "r1")[0]


@pytest.mark.parametrize(("names", "source"), [(("energy", "power"), "counter"), (("power",), "power")])
def test_energy_grows_with_the_run_and_covers_all_of_it(lab: Any, names: tuple[str, ...], source: str) -> None:
    read(lab, *names)
    begun = begin(lab)
    for step in range(1, 21):
        lab.clock.now += 3
        hear(lab, "step", step=step, loss=1.0, rows=4, tokens=10, seconds=2.5)
        if step % 2:
            read(lab, *names)
        if step == 11:
            assert 0 < cost(lab)["joules"] < WATTS * 33 + 1
    lab.clock.now += 5
    read(lab, *names)
    found = cost(lab)
    assert found["joules"] == pytest.approx(WATTS * 60) and found["source"] == source
    assert (found["step_seconds"], found["gpu_seconds"], found["rows"]) == (50.0, 50.0, 80)
    assert (found["occupied_seconds"], found["begun"]) == (60.0, begun)


def test_the_pause_between_two_stretches_costs_nothing(lab: Any) -> None:
    begin(lab)
    read(lab, "energy")
    for fence in (1, 2):
        if fence == 2:
            lab.clock.now += 1000
            read(lab, "energy")
            hear(lab, "started", fence=2, pid=1, device="cuda:1", threads=2, resumed_from=1)
        lab.clock.now += 10
        hear(lab, "step", fence=fence, step=fence, loss=1.0, rows=4, tokens=10, seconds=2.5)
        read(lab, "energy")
    assert cost(lab)["joules"] == pytest.approx(WATTS * 20) and cost(lab)["occupied_seconds"] == 20.0


def test_the_other_cards_energy_is_not_counted(lab: Any) -> None:
    begin(lab, device="cuda")
    read(lab, "energy", gpu=1)
    lab.clock.now += 10
    hear(lab, "step", step=1, loss=1.0, rows=4, tokens=10, seconds=2.5)
    read(lab, "energy", gpu=1)
    assert cost(lab)["joules"] is None


def test_a_run_whose_readings_are_missing_has_no_energy_for_good(lab: Any) -> None:
    begin(lab)
    lab.clock.now += 1000
    hear(lab, "step", step=1, loss=1.0, rows=4, tokens=10, seconds=2.5)
    lab.clock.now += KEPT_OPEN_SECONDS + 1
    read(lab, "energy")
    assert (cost(lab)["joules"], cost(lab)["source"]) == (None, "gap")


def test_a_run_on_a_cpu_has_processor_seconds_and_no_energy(lab: Any) -> None:
    begin(lab, device="cpu")
    lab.clock.now += 10
    hear(lab, "step", step=1, loss=1.0, rows=4, tokens=10, seconds=2.5)
    read(lab, "energy", "power")
    found = cost(lab)
    assert (found["step_seconds"], found["gpu_seconds"], found["joules"], found["source"]) == (2.5, 0.0, None, "none")
