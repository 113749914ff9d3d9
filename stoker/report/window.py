"""Which stretch of time a report is about, in the lab's time zone.

A day is from midnight to midnight on the lab's clocks, so the day on which they change has 23 or 25 hours. A time that
a change leaves out is taken as that much after the change; one that comes twice means the first. Windows are half open:
what happened exactly at the end belongs to the next one.
"""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass

from stoker.errors import InvalidInput, NotAllowed
from stoker.spec.place import MACHINE
from stoker.spec.reports import OFF, WEEKDAYS, ReportSpec

MAX_HOURS = 24 * 366
_HOUR_SECONDS = 3600.0
_YEARS = (1971, 9000)  # a day before and after each still has a moment in every zone
_FORMATS = "a date or a date and a time, as in 2026-11-20 or 2026-11-20T07:00"


@dataclass(frozen=True)
class Window:
    """From `begins` up to `ends` (seconds since the epoch), told in `timezone` ("machine", or a name)."""

    begins: float
    ends: float
    timezone: str = MACHINE

    @property
    def hours(self) -> float:
        return (self.ends - self.begins) / _HOUR_SECONDS

    def has(self, moment: float | None) -> bool:
        return moment is not None and self.begins <= moment < self.ends

    def words(self, moment: float, form: str = "%Y-%m-%d %H:%M") -> str:
        """Return a moment as the lab's clocks show it."""
        return local(moment, self.timezone).strftime(form)

    @property
    def zone_name(self) -> str:
        """The zone's own name, with the abbreviation in force at the end."""
        short = local(self.ends, self.timezone).astimezone(_zone(self.timezone)).strftime("%Z")
        return short if self.timezone == MACHINE else f"{self.timezone}, {short}"


def local(moment: float, timezone: str) -> datetime.datetime:
    """Return the lab's date and time at a moment."""
    return datetime.datetime.fromtimestamp(moment, _zone(timezone))


def moment_of(day: datetime.date, time: datetime.time, timezone: str) -> float:
    """Return the moment at which the lab's clocks show `time` on `day`."""
    return datetime.datetime.combine(day, time, _zone(timezone)).timestamp()


def last_hours(hours: float, now: float, timezone: str) -> Window:
    """Return the window of the last `hours` up to now."""
    if not 0 < hours <= MAX_HOURS:
        raise InvalidInput(
            f"--hours {hours:g} is out of range", f"above 0, at most {MAX_HOURS:,}", "for a day: --hours 24"
        )
    return Window(now - hours * _HOUR_SECONDS, now, timezone)


def between(since: str | None, until: str | None, now: float, timezone: str) -> Window:
    """Return the window of --from and --to. A date is its midnight; with one end alone it is that one day, up to now."""
    begins, ends = (_parsed(given, option, timezone) for given, option in ((since, "--from"), (until, "--to")))
    if begins is not None and begins >= now:
        raise _in_the_future("--from", since)
    if ends is not None and ends > now:
        raise _in_the_future("--to", until)
    if begins is None:
        assert ends is not None, "one end is given"
        begins = _days_later(ends, -1, timezone)
    if ends is None:
        ends = min(_days_later(begins, 1, timezone), now)
    if begins >= ends:
        why = "the end comes after the beginning, and a date means its midnight"
        raise InvalidInput(f"--from {since} --to {until} is no stretch of time", why, "for one day give --from alone")
    if ends - begins > MAX_HOURS * _HOUR_SECONDS:
        raise InvalidInput(
            f"--from {since} --to {until} is too long", "a report is about a year at most", "ask for less"
        )
    return Window(begins, ends, timezone)


def require_history(window: Window, began: float) -> None:
    """Refuse a window that was over before the lab began."""
    if window.ends > began:
        return
    what = f"there is nothing to report from {window.words(window.begins)} to {window.words(window.ends)}"
    why = f"this lab's history begins at {window.words(began)} ({window.zone_name})"
    raise NotAllowed(what, why, f"run: stoker report now --from {window.words(began, '%Y-%m-%d')}")


def due_before(spec: ReportSpec, moment: float, timezone: str) -> float | None:
    """Return the last scheduled moment up to and including `moment`; None when no report is scheduled."""
    if spec.at == OFF:
        return None
    time = datetime.time.fromisoformat(spec.at)
    today = local(moment, timezone).date()
    for num_days in range(8):
        day = today - datetime.timedelta(days=num_days)
        due = moment_of(day, time, timezone)
        if WEEKDAYS[day.weekday()] in spec.days and due <= moment:
            return due
    raise AssertionError("a week has every day")


def _zone(timezone: str) -> zoneinfo.ZoneInfo | None:
    """Return the zone; None is the machine's, which datetime knows with its changes."""
    return None if timezone == MACHINE else zoneinfo.ZoneInfo(timezone)


def _days_later(moment: float, num_days: int, timezone: str) -> float:
    there = local(moment, timezone)
    return moment_of(there.date() + datetime.timedelta(days=num_days), there.time(), timezone)


def _parsed(given: str | None, option: str, timezone: str) -> float | None:
    if given is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(given.strip())
        if not _YEARS[0] <= found.year <= _YEARS[1]:
            raise ValueError(found.year)
        return found.timestamp() if found.tzinfo else moment_of(found.date(), found.time(), timezone)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{option} {given!r} is no moment", f"it is {_FORMATS}", "") from None


def _in_the_future(option: str, given: str | None) -> InvalidInput:
    what = f"{option} {given} is in the future"
    return InvalidInput(what, "a report tells what happened", "for all up to now: stoker report now --hours 24")
