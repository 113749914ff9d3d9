"""What messages say. The title is the same for all messages of an incident, so that they make one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LONGEST = 1500
_FIRST_WORDS = {
    "worse": "Worse",
    "reopened": "Back again",
    "reminder": "Still open",
    "recovered": "Over",
    "test": "Test",
}
_SEVERITY_WORDS = {"info": "News", "warn": "Warning", "critical": "Critical"}


def title_of(lab: str, incident: Any, name: str | None = None) -> str:
    """Return the title of an incident's messages; it holds the incident's id. `name`: what people call its subject."""
    subject = "" if incident.subject == "lab" else f" of {name or incident.subject}"
    return f"{lab} {incident.id}: {incident.kind}{subject}"


def first_word(kind: str, severity: str) -> str:
    """Return what a message is, for where only the title is seen."""
    return _FIRST_WORDS.get(kind) or _SEVERITY_WORDS[severity]


def text_of(incident: Any, kind: str) -> str:
    """Return the body of a message about an incident as it is now."""
    lines = [_cut(incident.title)]
    if kind == "recovered":
        lines = [f"Over after {_lasted(incident)}: {_cut(incident.outcome or '')}", f"It was: {_cut(incident.title)}"]
    elif incident.state != "open" and incident.outcome:
        lines.append(f"Over already, after {_lasted(incident)}: {_cut(incident.outcome)}")
    if incident.num_events > 1:
        lines.append(f"{incident.num_events} events so far.")
    lines.append(f"More: stoker alert show {incident.id}")
    return "\n".join(lines)


def digest_of(lab: str, alerts: Sequence[Any]) -> tuple[str, str]:
    """Return the title and the body of one message for several, in their order."""
    parts = []
    for alert in alerts:
        body = alert.text.replace("\n", "\n  ")
        parts.append(f"- {first_word(alert.kind, alert.severity)}: {alert.title}\n  {body}")
    return f"{lab}: {len(alerts)} messages", "\n".join(parts)


def _lasted(incident: Any) -> str:
    seconds = max(0.0, (incident.closed_at or incident.updated_at) - incident.opened_at)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
