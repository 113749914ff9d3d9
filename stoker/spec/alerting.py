"""The settings of [alerts]: where what happened is told, to whom, and when not.

A channel's URL is a secret: it is held as one, and dumps as what may be shown of it. A channel that does not parse and
a route to a channel that is not there are refused here, so neither a lab nor `config set` ever takes them.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import Field, SecretStr, field_serializer, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stoker.errors import InvalidInput
from stoker.spec.base import Spec
from stoker.spec.channels import DESKTOP, NAME_PATTERN, check_channel, shown

Severity = Literal["info", "warn", "critical"]
SEVERITIES: Final = ("info", "warn", "critical")

INCIDENT_KINDS: Final = (
    "crash", "failed", "hang", "non-finite", "loss-spike", "divergence", "loss-outlier", "inverted-loss",
    "gradients-exploding", "gradients-vanishing", "plateau", "overfitting", "accuracy-drop", "throughput-drop",
    "memory-trend", "recovery", "disk", "evaluation", "intake", "rejected", "waiting", "data", "checkpoint", "settings",
    "store",
    "report",
    "trial", "notifier", "other",
)  # fmt: skip
"""What an incident can be; the codes of its events are in `analysis/causes`."""

NEWS_KINDS: Final = ("run.done", "version.promoted", "best-so-far", "trial.done", "report.ready")
"""Events without any trouble that a route of severity "info" may ask for."""

_RESERVED = (DESKTOP, "all", *INCIDENT_KINDS)


class RouteSpec(Spec):
    """Which messages go where: all conditions must hold; an empty list leaves none out."""

    min_severity: Severity = Field("warn", description="The least severity that is sent; info asks for good news too.")
    kinds: tuple[str, ...] = Field((), description="Only these kinds of incident or news.")
    models: tuple[str, ...] = Field((), description="Only what concerns these model lines.")
    to: tuple[str, ...] = Field(description="The channels.")


class AlertsSpec(Spec):
    """[alerts]: who is told of incidents, and when."""

    channels: dict[str, SecretStr] = Field(
        {},
        description='Where messages go, by a name of yours: an apprise URL, "env:NAME" or "file:PATH" that hold one. '
        '"desktop" is always there.',
    )
    routes: tuple[RouteSpec, ...] = Field(
        (),
        description="Which messages go where: { min_severity, kinds, models, to }. "
        "Without routes each channel gets warnings and worse.",
    )
    quiet_hours: str = Field(
        "",
        description='Nothing that is not urgent is sent in these hours, as in "22:00-07:00"; then all of it in one message.',
    )
    urgent_severity: Severity = Field(
        "critical", description="What is at least this severe waits neither for quiet hours to end nor for a digest."
    )
    digest_minutes: int = Field(
        0,
        ge=0,
        le=1440,
        description="What is not urgent is gathered this long and sent as one message (minutes); 0: at once.",
    )
    repeat_minutes: int = Field(
        0,
        ge=0,
        le=10_080,
        description="An urgent incident that is still open is told again this often (minutes); 0: never.",
    )
    reopen_minutes: int = Field(
        30,
        ge=0,
        le=1440,
        description="The same cause within this time of its end is the same incident, told once (minutes).",
    )
    max_per_hour: int = Field(
        20, ge=1, le=1000, description="More messages an hour than this go to a channel as one."
    )  # fmt: skip
    retry_attempts: int = Field(
        10, ge=1, le=100, description="How often a message is tried before it counts as failed."
    )
    retry_seconds: float = Field(
        30.0, gt=0, le=3600, description="Wait before the second attempt (seconds); doubles each time, up to an hour."
    )
    timeout_seconds: float = Field(
        30.0, ge=1, le=600, description="A service that does not answer is given up (seconds)."
    )

    @field_validator("channels")
    @classmethod
    def _channels_parse(cls, channels: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in channels.items():
            if not re.fullmatch(NAME_PATTERN, name) or name in _RESERVED:
                why = "a name has lower-case letters, digits, '_' and '-', and is not a word that Stoker uses"
                raise _told(f'alerts.channels: "{name}" can\'t name a channel', why, "choose another name, as in phone")
            try:
                check_channel(secret.get_secret_value())
            except InvalidInput as error:
                raise _told(f"alerts.channels.{name}: {error.what}", error.why, error.remedy) from None
        return channels

    @field_serializer("channels")
    def _show(self, channels: dict[str, SecretStr]) -> dict[str, str]:
        return {name: shown(secret.get_secret_value()) for name, secret in channels.items()}

    @field_validator("quiet_hours")
    @classmethod
    def _are_hours(cls, text: str) -> str:
        if text:
            begin, end = _hours(text)
            if begin == end:
                raise _told(
                    f'alerts.quiet_hours = "{text}" is the whole day', "", "to be told nothing: stoker alert mute all"
                )
        return text

    @model_validator(mode="after")
    def _routes_lead_somewhere(self) -> AlertsSpec:
        for number, route in enumerate(self.routes, 1):
            known = (*self.channels, DESKTOP)
            _check_words(
                f"alerts.routes: route {number} goes to", route.to, known, "stoker config set alerts.channels.{} URL"
            )
            kinds = (*INCIDENT_KINDS, *NEWS_KINDS)
            _check_words(f"alerts.routes: route {number} is for kind", route.kinds, kinds, "{} is none of them")
            if not route.to:
                raise _told(f"alerts.routes: route {number} goes nowhere", "", 'write to = ["desktop"], for example')
        return self

    @property
    def quiet_span(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Begin and end of the quiet hours as (hour, minute), or None."""
        return _hours(self.quiet_hours) if self.quiet_hours else None


def _hours(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)", text)
    if found is None:
        raise _told(
            f'alerts.quiet_hours = "{text}" is not a span of hours', "a span is HH:MM-HH:MM", 'as in "22:00-07:00"'
        )
    numbers = [int(part) for part in found.groups()]
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def _check_words(where: str, words: tuple[str, ...], known: tuple[str, ...], remedy: str) -> None:
    for word in words:
        if word not in known:
            why = f"there is: {', '.join(known)}"
            raise _told(f'{where} "{word}", which is not there', why, remedy.format(word))


def _told(what: str, why: str, remedy: str) -> PydanticCustomError:
    """Return an error that carries its own words to `spec/explain`."""
    facts: dict[str, Any] = {"what": what, "why": why, "remedy": remedy}
    return PydanticCustomError("told", "{what}", facts)
