"""Intervals of remaining time hold about as often as they say, on recorded runs of a machine that others used too."""

import json
from pathlib import Path

import pytest

from stoker.analysis.calibration import Moment, moments_of_past, moments_of_steps, share_held

TRACES = [
    json.loads(path.read_bytes()) for path in sorted((Path(__file__).parent / "detectors" / "traces").glob("*.json"))
]


def test_the_80_percent_interval_holds_70_to_90_percent_of_the_time_over_100_recorded_moments() -> None:
    moments = [moment for trace in TRACES for moment in moments_of_steps(trace["seconds"])]
    moments += moments_of_past([(sum(trace["tokens"]), sum(trace["seconds"])) for trace in TRACES])
    assert len(moments) >= 100
    assert 0.70 <= share_held(moments) <= 0.90


def test_a_moment_is_what_was_said_then_and_what_came() -> None:
    (half,) = moments_of_steps([1.0] * 50 + [2.0] * 50, shares=(0.5,))
    assert (half.estimate, half.truth, half.is_held) == (50.0, 100.0, False)
    assert half.error == pytest.approx(0.5)
    assert moments_of_steps([1.0], shares=(0.5,)) == []


def test_past_runs_are_judged_by_those_before_them_alone() -> None:
    first, second = moments_of_past([(100, 10.0), (200, 20.0), (300, 300.0)])
    assert first.is_held and first.estimate == pytest.approx(20)
    assert not second.is_held and second.estimate == pytest.approx(30)
    assert share_held([Moment(0, 1, 0, 2, 1), Moment(0, 1, 0, 2, 3)]) == 0.5
