"""Windows of reports: days as the lab's clocks know them, what is refused, and when a report is due."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from stoker.errors import InvalidInput, NotAllowed
from stoker.report.window import Window, between, due_before, last_hours, require_history
from stoker.spec.reports import ReportSpec

BERLIN = "Europe/Berlin"
NOW = datetime.datetime(2026, 11, 21, 18, 0, tzinfo=datetime.UTC).timestamp()


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-20", 24)], ids=["spring", "autumn", "plain"]
)
def test_a_day_is_from_midnight_to_midnight_on_the_labs_clocks(day: str, hours: int) -> None:
    window = between(day, None, NOW, BERLIN)
    assert window.hours == hours
    assert window.words(window.begins) == f"{day} 00:00"
    assert window.words(window.ends, "%H:%M") == "00:00"


def test_the_time_zone_moves_the_day() -> None:
    berlin, tokyo = (between("2026-11-20", None, NOW, zone) for zone in (BERLIN, "Asia/Tokyo"))
    assert berlin.begins == at("2026-11-19T23:00+00:00")
    assert tokyo.begins == at("2026-11-19T15:00+00:00")
    assert berlin.zone_name == "Europe/Berlin, CET"


def test_a_window_is_given_by_hours_by_both_ends_or_by_one() -> None:
    assert last_hours(24, NOW, BERLIN) == Window(NOW - 86_400, NOW, BERLIN)
    both = between("2026-11-20T07:00", "2026-11-21 07:00", NOW, BERLIN)
    assert (both.words(both.begins), both.hours) == ("2026-11-20 07:00", 24)
    assert between(None, "2026-11-21", NOW, BERLIN) == between("2026-11-20", None, NOW, BERLIN)
    today = between("2026-11-21", None, NOW, BERLIN)
    assert today.ends == NOW
    assert between("2026-11-20T00:00+00:00", None, NOW, BERLIN).begins == at("2026-11-20T00:00+00:00")


def test_what_happened_at_the_end_is_of_the_next_window() -> None:
    window = Window(10.0, 20.0)
    assert [window.has(moment) for moment in (9.9, 10.0, 19.9, 20.0, None)] == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("2027-01-01", None, "--from 2027-01-01 is in the future"),
        ("2026-11-20", "2026-11-22", "--to 2026-11-22 is in the future"),
        (None, "2030-01-01T10:00", "--to 2030-01-01T10:00 is in the future"),
        ("2026-11-20", "2026-11-20", "is no stretch of time"),
        ("2026-11-20", "2026-11-19", "is no stretch of time"),
        ("yesterday", None, "--from 'yesterday' is no moment"),
        (None, "2026-13-01", "--to '2026-13-01' is no moment"),
        ("2020-01-01", "2026-01-01", "is too long"),
        ("0001-01-01", None, "no moment"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_with_its_rule(since: Any, until: Any, words: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        between(since, until, NOW, BERLIN)
    assert words in raised.value.what
    assert raised.value.why


@pytest.mark.parametrize("hours", [0, -3, 1e9, float("nan")])
def test_hours_outside_the_range_are_refused(hours: float) -> None:
    with pytest.raises(InvalidInput, match="out of range"):
        last_hours(hours, NOW, BERLIN)


def test_a_day_before_the_lab_began_is_refused_with_a_day_that_works() -> None:
    began = at("2026-11-20T12:00+01:00")
    with pytest.raises(NotAllowed) as raised:
        require_history(between("2026-11-19", None, NOW, BERLIN), began)
    assert "2026-11-20 12:00" in raised.value.why
    assert "--from 2026-11-20" in raised.value.remedy
    require_history(between("2026-11-20", None, NOW, BERLIN), began)


def schedule(**changes: Any) -> ReportSpec:
    return ReportSpec(**changes)


def test_a_report_is_due_at_its_time_of_day() -> None:
    assert due_before(schedule(), at("2026-11-21T06:59+01:00"), BERLIN) == at("2026-11-20T07:00+01:00")
    assert due_before(schedule(), at("2026-11-21T07:00+01:00"), BERLIN) == at("2026-11-21T07:00+01:00")
    assert due_before(schedule(at="18:30"), at("2026-11-21T18:31+01:00"), BERLIN) == at("2026-11-21T18:30+01:00")


def test_a_report_is_due_on_its_days_only() -> None:
    # 2026-11-21 is a Saturday.
    weekdays = schedule(days=("mon", "tue", "wed", "thu", "fri"))
    assert due_before(weekdays, at("2026-11-22T09:00+01:00"), BERLIN) == at("2026-11-20T07:00+01:00")
    assert due_before(schedule(days=("sat",)), at("2026-11-21T06:00+01:00"), BERLIN) == at("2026-11-14T07:00+01:00")


def test_no_report_is_due_where_none_is_wanted() -> None:
    assert due_before(schedule(at="off"), NOW, BERLIN) is None


def test_the_time_zone_moves_the_time_of_day() -> None:
    assert due_before(schedule(), NOW, "Asia/Tokyo") == at("2026-11-21T07:00+09:00")


@pytest.mark.parametrize(
    ("day", "after"), [("2026-03-29", "2026-03-29T03:30+02:00"), ("2026-10-25", "2026-10-25T02:30+02:00")]
)
def test_a_time_that_the_clocks_leave_out_or_repeat_is_due_once(day: str, after: str) -> None:
    spec = schedule(at="02:30")
    begins, hour = at(f"{day}T00:00+00:00") - 7200, 3600
    dues = {due_before(spec, begins + num * hour / 4, BERLIN) for num in range(4 * 25)}
    of_the_day = {due for due in dues if due is not None and due >= at(f"{day}T00:00+01:00")}
    assert of_the_day == {at(after)}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("at", "7:00", "from 00:00 to 23:59"),
        ("at", "24:00", "from 00:00 to 23:59"),
        ("days", ("monday",), "the days are mon"),
        ("days", (), "at least one"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_with_its_rule(field: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ReportSpec(**{field: value})
