"""`stoker run series`: what was measured, as a summary, as JSON and as CSV."""

from __future__ import annotations

from typing import Any


def test_a_summary_has_a_line_for_each_series(stoker: Any, history: Any) -> None:
    answer = stoker("run", "series", "r1")
    assert answer.code == 0 and answer.out.splitlines()[0].split() == ["name", "points", "lowest", "highest", "last"]
    line = next(line for line in answer.out.splitlines() if line.startswith("loss"))
    assert line.split()[1:5] == ["3", "0.6667", "2", "0.6667"]


def test_json_and_csv_give_the_points_of_the_names_and_the_range_asked_for(stoker: Any, history: Any) -> None:
    answer = stoker("run", "series", "r1", "loss", "--from", "2", "--json").json()
    assert answer == {"series": "r1", "names": {"loss": {"num_points": 2, "at": [2, 3], "value": [1.0, 2 / 3]}}}
    assert stoker("run", "series", "r1", "loss", "--to", "1", "--csv").out == "series,at,value\nloss,1,2.0\n"


def test_a_machine_that_was_not_measured_says_so(stoker: Any, history: Any) -> None:
    answer = stoker("run", "series", "machine")
    assert answer.code == 0 and "nothing was measured of machine yet" in answer.err


def test_what_can_not_be_drawn_is_refused_with_the_rule(stoker: Any, history: Any) -> None:
    assert "at least 10 points" in stoker("run", "series", "r1", "--points", "3").err
    assert "it has: epoch, grad_norm" in stoker("run", "series", "r1", "lost").err
    assert stoker("run", "series", "r1", "--from", "3", "--to", "2").code == 2
    assert stoker("run", "series", "r1", "--json", "--csv").code == 2
