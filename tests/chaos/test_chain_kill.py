"""The chain kill: a disturbed lab ends exactly as an undisturbed one does (P1)."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from chaos_lab import integrity, make_lab, observe, start
from chaos_monkey import LIFE_SECONDS, Monkey, Tally
from reliability import record

SHORT_KILLS = 6
NUM_LABS = 2


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_lab_killed_at_random_ends_as_an_undisturbed_one(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    num_kills = request.config.getoption("--kills", None) or SHORT_KILLS
    seed = request.config.getoption("--chaos-seed", None) or 1
    began = time.monotonic()
    expected = undisturbed(tmp_path / "undisturbed")
    assert [run["state"] for run in expected["runs"]] == ["done"] * 3, expected["runs"]
    assert all(count == 1 for count in expected["trained"].values()) and len(expected["trained"]) == 3

    tally = Tally(num_kills, (num_kills + 1) // 2)
    failures = disturb(tmp_path, seed, tally, expected)
    text = report(tally, seed, time.monotonic() - began)
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")
    if request.config.getoption("--record", False) and not failures:
        record("kills", None, {"text": text})
    assert not failures, "\n".join(failures)
    assert tally.is_met()


def undisturbed(root: Path) -> dict[str, Any]:
    """Return what a lab comes to when nothing happens to it."""
    workspace = make_lab(root)
    assert start(workspace).wait(timeout=LIFE_SECONDS) == 0, (root / "supervisor.log").read_text()
    return observe(workspace)


def disturb(tmp_path: Path, seed: int, tally: Tally, expected: dict[str, Any]) -> list[str]:
    """Run disturbed labs side by side until there were enough kills; return how any differs from the undisturbed."""
    failures: list[str] = []
    numbers = itertools.count(1)

    def lane() -> None:
        while not tally.is_met() and not failures:
            number = next(numbers)
            monkey = Monkey(tmp_path / f"lab-{number}", seed * 1000 + number, tally)
            try:
                monkey.work()
                failures.extend(f"lab {number}: {line}" for line in differences(expected, observe(monkey.workspace)))
                if (word := integrity(monkey.workspace)) != "ok":
                    failures.append(f"lab {number}: the store: {word}")
            except Exception as error:  # noqa: BLE001 - the thread's boundary: the test fails with it
                failures.append(f"lab {number} ({monkey.workspace.root}): {error!r}")

    threads = [threading.Thread(target=lane) for _ in range(min(NUM_LABS, os.cpu_count() or 1, -(-tally.wanted // 6)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Name what is not the same, bit for bit."""
    lines = []
    for name, value in expected.items():
        if found[name] == value:
            continue
        if name != "steps":
            lines.append(f"{name}: {str(found[name])[:400]} instead of {str(value)[:400]}")
            continue
        for run, steps in value.items():
            other = found[name].get(run, [])
            differing = [pair for pair in itertools.zip_longest(steps, other) if pair[0] != pair[1]]
            lines += [f"steps of {run}: {differing[:3]} of {len(differing)}"] if differing else []
    return lines


def report(tally: Tally, seed: int, seconds: float) -> str:
    targets = ", ".join(f"{name} {count}" for name, count in sorted(tally.by_target.items()))
    points = ", ".join(f"{name} {count}" for name, count in sorted(tally.by_point.items()))
    return (
        f"chain kill: {tally.num_kills} kills ({targets}), {tally.num_in_saves} inside a save ({points}), "
        f"seed {seed}, {seconds:.0f} s"
    )
