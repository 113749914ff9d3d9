"""Changes while a run goes on hold at once and replay exactly: `pytest tests/chaos/test_changes.py --changes N [--record]`."""

from __future__ import annotations

from pathlib import Path

import pytest
from changes import ChangingRun
from reliability import record

SHORT_CHANGES = 5


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_random_changes_through_a_pause_and_a_kill_replay_to_the_same_losses(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    number = request.config.getoption("--changes", None)
    run = ChangingRun(tmp_path / "lab", number or SHORT_CHANGES, request.config.getoption("--chaos-seed", None) or 1)
    run.go_through()
    effects = run.effects()
    assert {effect.state for effect in effects} == {"applied"} and run.num_resumes() == 2
    expected, replayed = run.losses(), run.replay(tmp_path / "replay")
    facts = {**run.facts(), "is_same": replayed == expected}
    if request.config.getoption("--record", False):
        record("changes", None, facts)
    assert facts["is_same"], [
        (step, expected.get(step), loss) for step, loss in replayed.items() if loss != expected.get(step)
    ][:3]
    if number:
        late = [effect for effect in effects if not effect.is_in_time]
        assert not late, f"neither within one step nor within 5 s: {late}"
