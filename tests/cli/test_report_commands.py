"""`stoker report`: now, list and show, with and without a supervisor, and every window that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.workspace import Workspace

Stoker = Callable[..., Any]
NIGHT = ("--from", "2023-11-14", "--to", "2023-11-16")  # the fixture's history is of 2023-11-14


def test_a_report_is_written_printed_and_listed(stoker: Stoker, history: Workspace) -> None:
    answer = stoker("report", "now", *NIGHT)
    assert answer.code == 0
    assert answer.out.startswith("# ")
    page = Path(answer.err.partition(";")[0])
    assert page.parent == history.reports and page.read_text("utf-8").startswith("<!doctype html>")
    assert page.with_suffix(".md").read_text("utf-8").rstrip() == answer.out.rstrip()
    (listed,) = stoker("report", "list", "--json").json()
    assert listed.keys() == {"id", "begins", "ends", "headline", "path", "created"}
    assert listed["headline"] in answer.out.replace("\\", "")
    assert "rep1" in stoker("report", "list").out
    assert stoker("report", "show").out == answer.out
    assert stoker("report", "show", "rep1", "--json").json()["id"] == "rep1"


def test_the_json_has_its_fields_and_the_runs_behind_the_figures(stoker: Stoker, history: Workspace) -> None:
    report = stoker("report", "now", *NIGHT, "--json").json()
    assert {
        "headline", "next_action", "files_trained", "files_rejected", "steps", "incidents", "verdicts", "gpu_hours", "cost",
    } <= report.keys()  # fmt: skip
    assert report["steps"] == 3 and report["training_seconds"] == pytest.approx(1.5)
    assert [(run["run"], run["steps"]) for run in report["runs"]] == [("r1", [1, 3])]
    (verdict,) = report["verdicts"]
    assert (verdict["evaluation"], verdict["promote"], verdict["scores"][0]["outcome"]) == ("e1", True, "better")
    assert report["cost"] is None
    assert [job["run"] for job in report["queue"]] == ["r2"]
    assert report["next_command"] == "stoker up"


def test_the_same_window_again_replaces_its_report(stoker: Stoker, history: Workspace) -> None:
    first, second = (stoker("report", "now", *NIGHT, "--json").json() for _ in range(2))
    assert first["id"] == second["id"] and first["path"] == second["path"]
    assert len(stoker("report", "list", "--json").json()) == 1


def test_another_window_is_another_report(stoker: Stoker, history: Workspace) -> None:
    stoker("report", "now", *NIGHT)
    report = stoker("report", "now", "--hours", "2", "--json").json()
    assert report["id"] == "rep2" and report["hours"] == pytest.approx(2)
    assert report["is_idle"] and report["steps"] == 0
    assert "Idle day" in report["headline"]


def test_a_lab_in_which_nothing_ever_happened_has_an_idle_day(stoker: Stoker, lab: Workspace) -> None:
    answer = stoker("report", "now", "--json")
    assert answer.json()["headline"] == "Idle day: nothing came in and nothing was trained, nothing needs you."
    assert answer.json()["next_command"] == "stoker add FILE"


def test_the_time_zone_of_the_settings_decides_what_a_day_is(stoker: Stoker, history: Workspace) -> None:
    begins = []
    for zone in ("Asia/Tokyo", "Europe/Berlin"):
        stoker("config", "set", "lab.timezone", zone)
        begins.append(stoker("report", "now", "--from", "2023-11-15", "--json").json()["begins"])
    assert begins[1] - begins[0] == 8 * 3600


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--from", "2019-01-01"), 4, "history begins at 2023-11-14"),
        (("--from", "2999-01-01"), 5, "in the future"),
        (("--to", "2999-01-01"), 5, "in the future"),
        (("--from", "last night"), 5, "is no moment"),
        (("--from", "2023-11-15", "--to", "2023-11-15"), 5, "no stretch of time"),
        (("--hours", "0"), 5, "out of range"),
        (("--hours", "nan"), 5, "out of range"),
        (("--hours", "3", "--from", "2023-11-15"), 2, "one way"),
    ],
)
def test_a_window_that_can_not_be_is_refused_and_nothing_is_written(
    stoker: Stoker, history: Workspace, args: tuple[str, ...], code: int, words: str
) -> None:
    answer = stoker("report", "now", *args)
    assert answer.code == code and words in answer.err and answer.out == ""
    assert list(history.reports.iterdir()) == []
    assert stoker("report", "list", "--json").json() == []


def test_a_lab_that_was_just_made_has_no_earlier_day(stoker: Stoker, lab: Workspace) -> None:
    answer = stoker("report", "now", "--from", "2020-01-01")
    assert answer.code == 4 and "history begins" in answer.err


def test_no_report_and_a_lost_page_say_what_to_do(stoker: Stoker, history: Workspace) -> None:
    assert "stoker report now" in stoker("report", "list").err
    assert stoker("report", "show").code == 3
    page = Path(stoker("report", "now", *NIGHT, "--json").json()["path"])
    page.with_suffix(".md").unlink()
    answer = stoker("report", "show", "rep1")
    assert answer.code == 3 and "is gone" in answer.err and "stoker report now --from" in answer.err
    assert stoker("report", "show", "rep9").code == 3
