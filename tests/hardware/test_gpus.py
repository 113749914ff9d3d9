"""GPUs through NVML: what they tell, what they don't, and no driver at all."""

from __future__ import annotations

import pytest
from fake_nvml import FakeNvml, card

from stoker.hardware.gpus import Gpus, gpu_of


def test_a_card_is_read_in_plain_units() -> None:
    (found,) = Gpus(FakeNvml(card())).read()
    assert (found.name, found.memory_total, found.memory) == ("NVIDIA Test", 80 * 10**9, 1e9)
    assert (found.utilisation, found.power, found.temperature, found.energy) == (50.0, 300.5, 60.0, 1000.0)


def test_what_a_card_does_not_tell_is_none_and_the_rest_is_read() -> None:
    old = card()
    del old["energy"], old["power"]
    (found,) = Gpus(FakeNvml(old)).read()
    assert (found.energy, found.power, found.utilisation) == (None, None, 50.0)


def test_a_lost_card_gives_no_reading_with_the_reason_and_the_library_is_begun_anew() -> None:
    nvml = FakeNvml(card())
    gpus = Gpus(nvml)
    assert len(gpus.read()) == 1
    nvml.error = nvml.NVMLError("GPU is lost")
    assert gpus.read() == [] and gpus.reason == "GPU is lost"
    nvml.error = None
    assert len(gpus.read()) == 1 and gpus.reason is None and nvml.num_inits == 2


def test_a_machine_without_a_driver_or_with_one_is_read_without_an_error() -> None:
    gpus = Gpus()
    assert gpus.read() or gpus.reason


def test_no_card_is_a_reason_too() -> None:
    gpus = Gpus(FakeNvml())
    assert gpus.read() == [] and gpus.reason == "the driver knows no card"


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("cpu", None, None), (None, None, None), ("cuda", None, 0), ("cuda:1", None, 1), ("cuda:1", "2,5", 5),
     ("cuda", "GPU-8ac", None), ("cuda:1", "3", None)],
)  # fmt: skip
def test_torchs_device_is_found_among_nvmls(
    device: str | None, visible: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_of(device) == expected
