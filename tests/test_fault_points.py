"""Fault points do what STOKER_FAULT says, also when a file says it that changes while a process lives."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stoker.faults import fault_factor, fault_point


def test_a_fault_holds_for_the_times_of_asking_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_FAULT", "test.range:x100@2-3")
    assert [fault_factor("test.range") for _ in range(4)] == [None, 100.0, 100.0, None]
    assert fault_factor("test.other") is None


def test_a_file_switches_faults_on_and_off_in_a_living_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    switch = tmp_path / "fault"
    monkeypatch.setenv("STOKER_FAULT", f"@{switch}")
    assert fault_factor("test.switched") is None
    switch.write_text("test.switched:nan@1\n")
    first, second = fault_factor("test.switched"), fault_factor("test.switched")
    assert first is not None and math.isnan(first) and second is None
    switch.write_text("test.switched:enospc@1")
    with pytest.raises(OSError, match="fault point"):
        fault_point("test.switched")
    switch.unlink()
    fault_point("test.switched")
