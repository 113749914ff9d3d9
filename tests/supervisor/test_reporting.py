"""The schedule of reports: each is made once, a missed one is made up, and one that fails harms nothing."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from stoker.durable import write_atomic
from stoker.store import report_queries
from stoker.store.reader import Reader
from stoker.supervisor.reporting import CHECK_SECONDS, RETRY_SECONDS, Reporting

BERLIN = {"timezone": "Europe/Berlin"}


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.fixture
def reports(lab: Any) -> Any:
    """Take turns at moments, with a supervisor that is new at each when asked."""
    lab.spec(lab=BERLIN)
    part = Reporting(lab.context)

    def look(*moments: str, is_new: bool = False) -> list[tuple[str, float]]:
        nonlocal part
        for moment in moments:
            lab.clock.now = at(moment)
            if is_new:
                part = Reporting(lab.context)
            part.tick()
        found = Reader(lab.workspace).ask(report_queries.reports)
        return [(one["id"], (one["ends"] - one["begins"]) / 3600) for one in found]

    return look


def test_the_first_report_is_due_at_the_first_time_after_the_lab_was_up(lab: Any, reports: Any) -> None:
    assert reports("2026-11-20T15:00+01:00", "2026-11-21T06:59+01:00") == []
    assert reports("2026-11-21T07:00+01:00") == [("rep1", 24.0)]
    page = lab.workspace.reports / "daily-2026-11-21-070000-24h.html"
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert page.with_suffix(".md").read_text("utf-8").startswith("# Idle day:")
    assert lab.codes == ["report.ready"]
    assert "Idle day" in lab.texts[0] and "stoker add FILE" in lab.texts[0]


def test_a_report_is_made_once_however_often_the_supervisor_starts(lab: Any, reports: Any) -> None:
    reports("2026-11-20T15:00+01:00")
    moments = [f"2026-11-21T07:{minute:02d}+01:00" for minute in range(0, 60, 7)]
    assert len(reports(*moments, is_new=True)) == 1
    assert lab.codes == ["report.ready"]


def test_missed_reports_are_made_up_by_one_that_begins_where_the_last_ended(lab: Any, reports: Any) -> None:
    reports("2026-11-16T15:00+01:00", "2026-11-17T07:01+01:00")
    assert reports("2026-11-20T12:00+01:00", is_new=True) == [("rep1", 24.0), ("rep2", 72.0)]
    assert reports("2026-11-21T07:00+01:00") == [("rep1", 24.0), ("rep2", 72.0), ("rep3", 24.0)]


def test_the_days_on_which_the_clocks_change_have_23_and_25_hours(reports: Any) -> None:
    reports("2026-10-24T12:00+02:00")
    assert reports("2026-10-25T07:00+01:00") == [("rep1", 25.0)]


def test_a_day_without_a_report_is_in_the_next_one(lab: Any, reports: Any) -> None:
    lab.spec(lab=BERLIN, report={"days": ("mon", "fri"), "at": "18:30"})
    reports("2026-11-20T12:00+01:00")
    days = [f"2026-11-{day}T{time}+01:00" for day in (20, 21, 22, 23) for time in ("18:31", "23:00")]
    assert reports(*days) == [("rep1", 96.0), ("rep2", 72.0)]


def test_the_time_zone_decides_when_it_is_due(lab: Any, reports: Any) -> None:
    lab.spec(lab={"timezone": "Asia/Tokyo"})
    reports("2026-11-20T12:00+00:00")
    assert reports("2026-11-20T21:59+00:00") == []
    assert reports("2026-11-20T22:00+00:00") == [("rep1", 24.0)]


def test_no_report_is_made_while_it_is_off_and_none_is_made_up_for_that_time(lab: Any, reports: Any) -> None:
    reports("2026-11-16T12:00+01:00")
    lab.spec(lab=BERLIN, report={"at": "off"})
    assert reports("2026-11-18T12:00+01:00") == []
    lab.spec(lab=BERLIN)
    assert reports("2026-11-20T12:00+01:00") == []
    assert reports("2026-11-21T07:00+01:00") == [("rep1", 24.0)]


def test_a_report_that_fails_is_told_once_tried_again_and_harms_nothing(lab: Any, reports: Any) -> None:
    reports("2026-11-20T15:00+01:00")
    folder: Path = lab.workspace.reports
    folder.rmdir()
    write_atomic(folder, b"not a folder")
    assert reports("2026-11-21T07:00+01:00", "2026-11-21T07:05+01:00", "2026-11-21T07:20+01:00") == []
    assert lab.codes == ["report.failed"]
    folder.unlink()
    lab.clock.now += RETRY_SECONDS
    assert reports("2026-11-21T07:40+01:00") == [("rep1", 24.0)]
    assert lab.codes == ["report.failed", "report.ready"]


def test_a_lab_without_a_change_is_looked_at_seldom(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    part = Reporting(lab.context)
    monkeypatch.setattr(lab.context, "refresh_settings", lambda: looks.append(lab.clock.now))
    for _ in range(int(CHECK_SECONDS * 4)):
        part.tick()
        lab.clock.now += 0.5
    assert len(looks) == 2
