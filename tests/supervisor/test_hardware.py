"""The machine's readings: kept every few seconds, never in anyone's way."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fake_nvml import FakeNvml, card
from sqlalchemy.exc import OperationalError

from stoker.hardware.gpus import Gpus
from stoker.store import series_queries
from stoker.store.series import BLOCK, MACHINE, put_points
from stoker.supervisor.hardware import Hardware
from stoker.supervisor.workers import Workers


def watch(lab: Any, nvml: FakeNvml) -> Hardware:
    return Hardware(lab.context, Workers(lab.context), Gpus(nvml))


def sample(hardware: Hardware) -> None:
    """Turn until a reading is kept, as the loop does."""
    for _ in range(1000):
        if hardware.tick():
            return
        for thread in threading.enumerate():
            if thread.name == "gpu-reading":
                thread.join(1)
    raise AssertionError("no reading was kept")


def names(lab: Any) -> list[str]:
    with lab.store.transaction() as tx:
        return series_queries.series_names(tx.connection, MACHINE)


def ats(lab: Any, name: str = "cpu") -> list[int]:
    with lab.store.transaction() as tx:
        return list(series_queries.load(tx.connection, MACHINE, name)[0])


def test_every_card_and_the_host_are_kept_as_series_of_the_machine(lab: Any) -> None:
    sample(watch(lab, FakeNvml(card(), card(power=100.0))))
    gpu = ["energy", "memory", "power", "temperature", "utilisation"]
    assert names(lab) == ["cpu", "disk_free", *(f"gpu{i}.{name}" for i in (0, 1) for name in gpu), "ram"]
    with lab.store.transaction() as tx:
        now = series_queries.machine(tx.connection, 0.0)
    assert (now["time"], now["gpu1.power"], now["gpu0.memory"]) == (int(lab.clock.time()), 100.0, 1e9)
    assert lab.codes == [] and now["disk_free"] > 0


@pytest.mark.parametrize("seconds", [5, 30])
def test_hardware_sample_seconds_is_how_often(lab: Any, seconds: int) -> None:
    lab.spec(hardware={"sample_seconds": seconds})
    hardware = watch(lab, FakeNvml())
    begun = int(lab.clock.time())
    for _ in range(4):
        sample(hardware)
        lab.clock.now += seconds - 1
        assert not hardware.tick() and not hardware.tick()
        lab.clock.now += 1
    assert ats(lab) == [begun + seconds * number for number in range(4)]


def test_zero_seconds_reads_nothing(lab: Any) -> None:
    lab.spec(hardware={"sample_seconds": 0})
    hardware = watch(lab, FakeNvml(card()))
    assert not any(hardware.tick() for _ in range(5)) and names(lab) == []


def test_no_gpu_is_said_once_however_often_the_supervisor_starts(lab: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    nvml = FakeNvml(card())
    nvml.error = nvml.NVMLError("Driver Not Loaded")
    for _ in range(2):
        hardware = watch(lab, nvml)
        sample(hardware)
        lab.clock.now += 5
        sample(hardware)
    assert lab.codes == [] and caplog.text.count("no GPU (Driver Not Loaded)") == 1
    nvml.error = None
    lab.clock.now += 5
    sample(hardware)
    assert lab.codes == ["gpu.found"]


def test_a_driver_that_never_answers_leaves_a_gap_is_told_once_and_holds_up_nothing(lab: Any) -> None:
    nvml = FakeNvml(card())
    hardware = watch(lab, nvml)
    sample(hardware)
    nvml.gate.clear()
    for _ in range(20):
        lab.clock.now += 5
        assert not hardware.tick()
        lab.clock.now += 3
        assert hardware.tick()
    assert len(ats(lab)) == 21 and len(ats(lab, "gpu0.power")) == 1
    assert lab.codes == ["gpu.silent"]
    assert sum(thread.name == "gpu-reading" for thread in threading.enumerate()) == 1
    nvml.gate.set()
    lab.clock.now += 5
    sample(hardware)  # what that thread found at last is old, and is replaced by a new reading
    lab.clock.now += 5
    sample(hardware)
    assert lab.codes[-1] == "gpu.found" and len(ats(lab, "gpu0.power")) >= 2


def test_a_store_that_takes_nothing_loses_the_reading_and_the_loop_goes_on(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware = watch(lab, FakeNvml())

    def full() -> Any:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    with monkeypatch.context() as broken:
        broken.setattr(lab.store, "transaction", full)
        assert not any(hardware.tick() for _ in range(50))
    lab.clock.now += 5
    sample(hardware)
    assert len(ats(lab)) == 1


def test_hardware_fine_days_and_keep_days_are_how_long_readings_stay(lab: Any) -> None:
    lab.clock.now = 100 * 86_400.0
    now = int(lab.clock.now)
    with lab.store.transaction() as tx:
        for age in (40, 5, 1):
            first = (now - age * 86_400) // BLOCK * BLOCK
            put_points(tx, MACHINE, (("cpu", at, 1.0) for at in range(first, first + BLOCK, 4)))
    lab.spec(hardware={"fine_days": 3, "keep_days": 10})
    sample(watch(lab, FakeNvml()))
    kept = ats(lab)
    by_age = [sum(days - 1 < (now - at) / 86_400 <= days + 1 for at in kept) for days in (40, 5, 1)]
    assert by_age[0] == 0 and 60 <= by_age[1] <= 75 and by_age[2] >= BLOCK // 4
