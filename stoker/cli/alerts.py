"""`stoker alert`: what went wrong, who was told, trying a channel, and being left in peace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli.console import AsJson, note, print_facts, print_json, print_table, say
from stoker.cli.durations import seconds
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.cli.units import ago, clock, duration
from stoker.errors import NotFound, UserError

if TYPE_CHECKING:
    from stoker.spec.alerting import AlertsSpec

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Incidents, and who is told of them.")

IncidentId = Annotated[str, typer.Argument(metavar="ID", help="An incident's id, a prefix of it, or @latest.")]
_INCIDENT_COLUMNS = ("id", "state", "severity", "kind", "about", "began", "told", "what")
_CHANNEL_COLUMNS = ("channel", "to", "last sent", "waiting", "state")
_BRIEF = 80


@app.command("list")
def list_(
    days: Annotated[float, typer.Option(min=0, help="How far back ended incidents are shown (days).")] = 7.0,
    as_json: AsJson = False,
) -> None:
    """List open and recent incidents, what was sent where, and the channels."""
    from stoker.store import alert_queries

    reader, spec, now = open_reader(), _settings(), time.time()
    found = reader.ask(alert_queries.incidents, since=now - days * 86_400)
    channels = _channels(spec, reader.ask(alert_queries.channel_states, now))
    mutes = reader.ask(alert_queries.mutes_in_force, now)
    if as_json:
        held = {name: getattr(spec, name) for name in ("quiet_hours", "digest_minutes", "urgent_severity")}
        print_json({"incidents": found, "channels": channels, "mutes": mutes, **held})
        return
    print_table(_INCIDENT_COLUMNS, [_row(incident) for incident in found])
    if not found:
        note("no incidents")
    if channels:
        say()
        print_table(_CHANNEL_COLUMNS, [_channel_row(channel) for channel in channels], numbers=("waiting",))
    _note_peace(spec, mutes)


@app.command()
def show(incident: IncidentId, as_json: AsJson = False) -> None:
    """Show an incident: its events in order, its outcome, and what was sent where."""
    from stoker.store import alert_queries

    reader = open_reader()
    detail = reader.ask(alert_queries.incident_detail, reader.resolve("incident", incident))
    if as_json:
        print_json(detail)
        return
    facts = [(name, detail[name]) for name in ("id", "kind", "subject", "severity", "state", "title", "outcome")]
    ended = detail["closed_at"] if detail["state"] != "open" else None
    lasted = duration((ended or time.time()) - detail["opened_at"])
    print_facts([*facts, ("began", ago(detail["opened_at"])), ("lasted" if ended else "open for", lasted)])
    say()
    print_table(("at", "severity", "event", "what"), [(clock(e["time"]), e["severity"], e["code"], e["text"]) for e in detail["events"]])  # fmt: skip
    if detail["alerts"]:
        say()
        rows = [(a["channel"], a["kind"], _state(a), clock(a["sent_at"]) if a["sent_at"] else "-", a["error"]) for a in detail["alerts"]]  # fmt: skip
        print_table(("channel", "message", "state", "sent", "error"), rows)


@app.command()
def test(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help='A channel of [alerts], or "desktop".')],
    as_json: AsJson = False,
) -> None:
    """Send a test message now, and say whether it left; it needs no supervisor.

    A channel that is `env:NAME` is read from this shell's environment; the supervisor reads its own.
    """
    outcome = _send_test(channel)
    if as_json:
        print_json({"channel": channel, **outcome})
    elif outcome["is_sent"]:
        note(f"{channel}: the message was taken by {outcome['by']}")
    if not outcome["is_sent"]:
        raise UserError(f"{channel}: the test message did not leave", outcome["error"], "see docs/alerts.md")


@app.command()
def mute(
    name: Annotated[str, typer.Argument(metavar="KIND|CHANNEL|all", help="What is not told, or where.")],
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long, as in 30m, 8h or 2d.")],
) -> None:
    """Say nothing of a kind of incident, through a channel, or at all, for a while; it is not told later either."""
    from stoker.spec.alerting import INCIDENT_KINDS, NEWS_KINDS

    length = seconds("--for", for_)
    known = ("all", *_names(_settings()), *INCIDENT_KINDS, *NEWS_KINDS)
    if name not in known:
        raise NotFound(f"{name!r} can't be muted", f"there is: {', '.join(known)}", "run: stoker alert list")
    ask_supervisor(current_lab(), "alert.mute", name=name, seconds=length)
    note(f"{name} is muted for {duration(length)}; undo it with: stoker alert unmute {name}")


@app.command()
def unmute(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="What was muted; default: everything.")] = "",
) -> None:
    """End mutes."""
    names = ask_supervisor(current_lab(), "alert.unmute", name=name or None).get("names", [])
    note(f"{', '.join(names)} may speak again" if names else "nothing was muted")


@app.command()
def close(incident: IncidentId) -> None:
    """Close an incident that you have dealt with."""
    incident_id = open_reader().resolve("incident", incident)
    ask_supervisor(current_lab(), "alert.close", incident=incident_id)
    note(f"{incident_id} is closed")


def _send_test(channel: str) -> dict[str, Any]:
    import tempfile
    from pathlib import Path

    from stoker.notify import process
    from stoker.notify.send import Message
    from stoker.spec.channels import DESKTOP, resolve_channel

    workspace, spec = current_lab(), _settings()
    if channel not in _names(spec):
        remedy = f"run: stoker config set alerts.channels.{channel} URL"
        raise NotFound(f"no channel {channel!r}", f"there is: {', '.join(_names(spec))}", remedy)
    url = DESKTOP
    if channel != DESKTOP:
        url = resolve_channel(spec.channels[channel].get_secret_value(), workspace.root)
    name = f"{workspace.root.name}.test.{time.time():.0f}"
    title, text = f"{workspace.root.name}: a test", f"This is a test of the channel {channel}; all is well."
    message = Message(0, "test", "info", title, text, thread=name, key=name)
    with tempfile.TemporaryDirectory() as folder:
        sender = process.start(Path(folder), channel, url, [message], spec.timeout_seconds)
        sender.wait(spec.timeout_seconds + 30)
        outcomes, _ = process.heard(Path(folder), channel, 0)
    found = outcomes[0] if outcomes else {"is_sent": False, "by": None, "error": "the sender ended without a word"}
    return {key: found[key] for key in ("is_sent", "by", "error")}


def _settings() -> AlertsSpec:
    from stoker.spec.reading import read_settings

    return read_settings(current_lab().settings).alerts


def _names(spec: AlertsSpec) -> list[str]:
    from stoker.spec.channels import DESKTOP

    return [*spec.channels, DESKTOP]


def _channels(spec: AlertsSpec, states: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each channel in use with what may be seen of it and how it fares."""
    from stoker.spec.channels import DESKTOP, shown

    used = [
        *spec.channels,
        *([DESKTOP] if any(DESKTOP in route.to for route in spec.routes) or DESKTOP in states else []),
    ]
    idle = {"waiting": 0, "next_at": None, "last_sent_at": None, "is_down": False, "muted_until": None, "error": None}
    return [
        {
            "name": name,
            "to": shown(spec.channels[name].get_secret_value()) if name in spec.channels else name,
            **states.get(name, idle),
        }
        for name in used
    ]


def _row(incident: dict[str, Any]) -> tuple[Any, ...]:
    told = ", ".join(dict.fromkeys(f"{a['channel']} {_state(a)}" for a in incident["alerts"]))
    what = _brief(incident["title"]) + (f" -> {_brief(incident['outcome'])}" if incident["outcome"] else "")
    names = ("id", "state", "severity", "kind", "subject")
    return (*(incident[name] for name in names), ago(incident["opened_at"]), told or "nobody", what)


def _brief(text: str) -> str:
    """Return the beginning of a text, for a row; `alert show` has all of it."""
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 3]}..."


def _state(alert: dict[str, Any]) -> str:
    if alert["state"] != "waiting":
        return "sent in a digest" if alert["state"] == "gathered" else str(alert["state"])
    why = alert["held"] or (f"tried {alert['attempts']} times" if alert["attempts"] else "")
    return f"waits until {clock(alert['not_before'])}" + (f" ({why})" if why else "")


def _channel_row(channel: dict[str, Any]) -> tuple[Any, ...]:
    state = f"down: {channel['error']}" if channel["is_down"] else "ok" if channel["last_sent_at"] else "not used yet"
    if channel["muted_until"]:
        state = f"muted until {clock(channel['muted_until'])}"
    return (channel["name"], channel["to"], ago(channel["last_sent_at"]), channel["waiting"], state)


def _note_peace(spec: AlertsSpec, mutes: dict[str, float]) -> None:
    if spec.quiet_hours:
        note(f"quiet hours {spec.quiet_hours} (time zone: lab.timezone); {spec.urgent_severity} breaks through")
    if spec.digest_minutes:
        note(f"what is below {spec.urgent_severity} is gathered for {spec.digest_minutes} min")
    for name, until in mutes.items():
        note(f"{name} is muted for {duration(until - time.time())} more")
    if not spec.channels and not spec.routes:
        note("nobody is told: there is no channel; docs/alerts.md has recipes")
