"""Lengths of time and moments as people write them: 30m, 8h, 7d, 2w; 2026-11-20, 2026-11-20T07:00."""

from __future__ import annotations

import datetime
import re

from stoker.errors import UsageError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_MOST_SECONDS = 100 * 366 * 86_400.0


def seconds(option: str, text: str) -> float:
    """Return a length of time in seconds; UsageError names the option."""
    found = _seconds(text)
    if found is None:
        why = "a time is a number and s, m, h, d or w, above 0 and below a hundred years"
        raise UsageError(f"{option} {text!r} is not a time", why, f"as in {option} 8h")
    return found


def moment(option: str, text: str, now: float, zone: datetime.tzinfo | None) -> float:
    """Return the moment so long before `now`, or that date (its midnight in `zone`, None: the machine's) or time."""
    length = _seconds(text)
    if length is not None:
        return now - length
    try:
        found = datetime.datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        why = "it is a time before now, as 24h or 7d, or a date, as 2026-11-20 or 2026-11-20T07:00"
        raise UsageError(f"{option} {text!r} is no moment", why, f"as in {option} 24h") from None


def _seconds(text: str) -> float | None:
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([smhdw])", text.strip())
    length = float(found[1]) * _SECONDS[found[2]] if found is not None else 0.0
    return length if 0 < length <= _MOST_SECONDS else None
