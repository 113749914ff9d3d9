"""Each fault of the table is over without a hand: `pytest tests/chaos/test_faults.py --all-faults [--record]`."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import FAULTS, Fault
from reliability import record
from runner import can_limit_memory, can_mount, carry_out


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    is_full = metafunc.config.getoption("--all-faults", False)
    faults = [fault for fault in FAULTS if is_full or fault.is_in_short_version]
    metafunc.parametrize("fault", faults, ids=lambda fault: fault.name)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_fault_is_over_without_a_hand(fault: Fault, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if fault.needs_tmpfs and not can_mount(tmp_path / "probe"):
        pytest.skip("mounting a small file system takes root")
    if fault.needs_memory_group and not can_limit_memory():
        pytest.skip("limiting a process's memory takes root")
    outcome = carry_out(fault, tmp_path / "lab")
    if request.config.getoption("--record", False):
        record("faults", outcome.name, outcome.facts())
    assert not outcome.problems, "\n".join(outcome.problems)
