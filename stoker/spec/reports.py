"""[report]: when the lab writes its daily report."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field, field_validator

from stoker.spec.base import Spec

OFF: Final = "off"
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ReportSpec(Spec):
    """[report]: the daily report."""

    at: str = Field(
        "07:00",
        description='Time of day, HH:MM in the lab\'s time zone, at which a report is written; "off": only when asked.',
    )
    days: tuple[str, ...] = Field(
        WEEKDAYS,
        description="Days on which it is written, of mon to sun; what was between two reports is in the later one.",
    )

    @field_validator("at")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if value != OFF and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
            raise ValueError('a time of day is written "07:00", from 00:00 to 23:59')
        return value

    @field_validator("days")
    @classmethod
    def _are_days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [day for day in value if day not in WEEKDAYS]
        if wrong or not value:
            raise ValueError(f'the days are {", ".join(WEEKDAYS)}, at least one of them; for none: at = "off"')
        return value
