"""Changes while a run goes on hold at once and replay exactly: `pytest tests/chaos/test_changes.py --changes N [--record]`."""

from __future__ import annotations

from pathlib import Path

import pytest
from changes import ChangingRun
from reliability import record


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_random_changes_through_a_pause_and_a_kill_replay_to_the_same_losses(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    number = request.config.getoption("--changes", None)
    if not number:
        pytest.skip("--changes N; 20 of them are replayed in tests/train/test_course.py")
    run = ChangingRun(tmp_path / "lab", number, request.config.getoption("--chaos-seed", None) or 1)
    run.go_through()
    effects = run.effects()
    assert run.told() == dict.fromkeys(run.asked, "applied") and run.num_resumes() == 2
    expected, replayed = run.losses(), run.replay(tmp_path / "replay")
    facts = {**run.facts(), "is_same": replayed == expected}
    if request.config.getoption("--record", False):
        record("changes", None, facts)
    other = [(step, expected.get(step), loss) for step, loss in replayed.items() if loss != expected.get(step)]
    assert facts["is_same"], f"{len(replayed)} steps of {len(expected)}; other losses: {other[:3]}"
    late = [effect for effect in effects if not effect.is_in_time]
    assert not late, f"neither within one step nor within 5 s: {late}"
