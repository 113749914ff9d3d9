"""[lab]: where the lab is, for whatever goes by the clock on its wall."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Final

from pydantic import Field, field_validator

from stoker.spec.base import Spec

MACHINE: Final = "machine"


class PlaceSpec(Spec):
    """[lab]: where the lab is."""

    timezone: str = Field(
        MACHINE,
        description='Time zone of reports and quiet hours, for example "Europe/Berlin"; "machine": that of this machine.',
    )

    @property
    def zone(self) -> datetime.tzinfo | None:
        """The time zone; None is the machine's own, with its changes of the clock."""
        return None if self.timezone == MACHINE else zoneinfo.ZoneInfo(self.timezone)

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if value != MACHINE:
            try:
                zoneinfo.ZoneInfo(value)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(f"{value!r} is not a time zone; for example Europe/Berlin") from None
        return value
