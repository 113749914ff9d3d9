"""Routes, quiet hours and digests are functions of settings and a moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from stoker.notify.routing import channels_for, quiet_until, release
from stoker.spec.alerting import AlertsSpec

BERLIN = ZoneInfo("Europe/Berlin")
CHANNELS = {"phone": "env:PHONE", "mail": "env:MAIL"}


def alerts(**settings: Any) -> AlertsSpec:
    return AlertsSpec.model_validate({"channels": CHANNELS, **settings})


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("hours", "now", "end"),
    [
        ("22:00-07:00", "2026-06-01 21:59", None),
        ("22:00-07:00", "2026-06-01 22:00", "2026-06-02 07:00"),
        ("22:00-07:00", "2026-06-02 06:59", "2026-06-02 07:00"),
        ("22:00-07:00", "2026-06-02 07:00", None),
        ("12:00-13:30", "2026-06-02 12:30", "2026-06-02 13:30"),
        ("12:00-13:30", "2026-06-02 11:30", None),
        ("22:00-07:00", "2026-03-28 23:00", "2026-03-29 07:00"),  # an hour is left out in this night
        ("22:00-07:00", "2026-10-24 23:00", "2026-10-25 07:00"),  # an hour comes twice
        ("22:00-02:30", "2026-03-29 01:30", "2026-03-29 03:30"),  # the end itself is left out: the clock shows 3:30
    ],
)
def test_quiet_hours_end_by_the_clock_on_the_wall(hours: str, now: str, end: str | None) -> None:
    assert quiet_until(alerts(quiet_hours=hours), BERLIN, at(now)) == (at(end) if end else None)


def test_an_end_that_comes_twice_ends_both_times() -> None:
    spec = alerts(quiet_hours="22:00-02:30")
    assert quiet_until(spec, BERLIN, at("2026-10-25 02:10")) == at("2026-10-25 02:30")
    assert quiet_until(spec, BERLIN, at("2026-10-25 02:10", fold=1)) == at("2026-10-25 02:30", fold=1)


def test_a_night_of_a_changed_clock_is_an_hour_shorter_or_longer() -> None:
    spec = alerts(quiet_hours="22:00-07:00")
    for begin, hours in (("2026-06-01 22:00", 9), ("2026-03-28 22:00", 8), ("2026-10-24 22:00", 10)):
        assert (quiet_until(spec, BERLIN, at(begin)) or 0) - at(begin) == hours * 3600


def test_the_time_zone_decides() -> None:
    now = at("2026-06-01 22:30")
    assert quiet_until(alerts(quiet_hours="22:00-07:00"), ZoneInfo("America/New_York"), now) is None


def test_only_what_is_urgent_breaks_through() -> None:
    now = at("2026-06-01 23:00")
    spec = alerts(quiet_hours="22:00-07:00")
    assert release(spec, BERLIN, "critical", now) == (now, None)
    assert release(spec, BERLIN, "warn", now) == (at("2026-06-02 07:00"), "quiet hours")
    assert release(alerts(quiet_hours="22:00-07:00", urgent_severity="warn"), BERLIN, "warn", now) == (now, None)


def test_a_digest_gathers_and_does_not_end_in_quiet_hours() -> None:
    spec = alerts(quiet_hours="22:00-07:00", digest_minutes=60)
    assert release(spec, BERLIN, "warn", at("2026-06-01 12:00")) == (at("2026-06-01 13:00"), "digest")
    assert release(spec, BERLIN, "warn", at("2026-06-01 21:30")) == (at("2026-06-02 07:00"), "quiet hours")
    assert release(spec, BERLIN, "critical", at("2026-06-01 12:00")) == (at("2026-06-01 12:00"), None)


def test_without_routes_every_channel_gets_warnings_and_worse() -> None:
    assert channels_for(alerts(), "warn", "crash", "main") == ["phone", "mail"]
    assert channels_for(alerts(), "info", "run.done", "main", is_news=True) == []


def test_routes_choose_by_severity_kind_and_model() -> None:
    spec = alerts(
        routes=[
            {"min_severity": "critical", "to": ["phone", "desktop"]},
            {"kinds": ["disk"], "to": ["phone"]},
            {"models": ["legal"], "to": ["mail"]},
            {"min_severity": "info", "kinds": ["run.done"], "to": ["mail"]},
        ]
    )
    assert channels_for(spec, "critical", "crash", "main") == ["phone", "desktop"]
    assert channels_for(spec, "warn", "crash", "main") == []
    assert channels_for(spec, "warn", "disk", None) == ["phone"]
    assert channels_for(spec, "warn", "crash", "legal") == ["mail"]
    assert channels_for(spec, "info", "run.done", "main", is_news=True) == ["mail"]
    assert channels_for(spec, "info", "version.promoted", "main", is_news=True) == []
