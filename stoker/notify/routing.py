"""Which channels a message goes to, and until when it waits. Pure: settings and a moment in, names and moments out."""

from __future__ import annotations

from datetime import datetime, time, timedelta, tzinfo

from stoker.spec.alerting import SEVERITIES, AlertsSpec

QUIET, DIGEST, TOO_MANY = "quiet hours", "digest", "too many"
"""Why a message is held back."""


def channels_for(spec: AlertsSpec, severity: str, kind: str, model: str | None, *, is_news: bool = False) -> list[str]:
    """Return the channels that routes name for a message, each once.

    `model`: the line it concerns; None concerns no single one, so a route for certain models leaves it out.
    """
    if not spec.routes:
        return list(spec.channels) if is_at_least(severity, "warn") and not is_news else []
    found: dict[str, None] = {}
    for route in spec.routes:
        is_meant = is_at_least(severity, route.min_severity)
        is_meant &= not route.kinds or kind in route.kinds
        is_meant &= not route.models or model in route.models
        if is_meant:
            found |= dict.fromkeys(route.to)
    return list(found)


def release(spec: AlertsSpec, zone: tzinfo | None, severity: str, now: float) -> tuple[float, str | None]:
    """Return when a message may be sent (seconds since the epoch), and why it is held until then or None."""
    if is_urgent(spec, severity):
        return now, None
    at, held = now, None
    if spec.digest_minutes:
        at, held = now + 60 * spec.digest_minutes, DIGEST
    until = quiet_until(spec, zone, at)
    return (at, held) if until is None else (until, QUIET)


def quiet_until(spec: AlertsSpec, zone: tzinfo | None, now: float) -> float | None:
    """Return when the quiet hours that hold `now` end, or None when it is not in any.

    The hours are those of the clock on the wall: a night of a changed clock is an hour shorter or longer.
    """
    if spec.quiet_span is None:
        return None
    begin, end = (time(*part) for part in spec.quiet_span)
    here = datetime.fromtimestamp(now, zone)
    clock = here.time()
    is_quiet = begin <= clock < end if begin < end else clock >= begin or clock < end
    if not is_quiet:
        return None
    # An hour that the clock shows twice ends twice: the first end that is still to come counts.
    ends = [
        datetime.combine(here.date() + timedelta(days=day), end.replace(fold=fold), zone).timestamp()
        for day in (0, 1)
        for fold in (0, 1)
    ]
    return min(moment for moment in ends if moment > now)


def is_at_least(severity: str, least: str) -> bool:
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)


def is_urgent(spec: AlertsSpec, severity: str) -> bool:
    """Tell whether neither quiet hours nor a digest hold a message back."""
    return is_at_least(severity, spec.urgent_severity)
