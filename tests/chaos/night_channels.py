"""Where the alerts of a night go: a web hook, a mail server, and a desktop's own notification daemon, all on this machine.

What each got is kept as `Heard`, in the order of arrival. The desktop is dunst under Xvfb on a session bus of its own; where
one of them is not installed, it is left out and `left_out` says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "notify"))
from receivers import MailBox, WebHook, mail_server, screen, session_bus, web_hook

_DESKTOP_PROGRAMS = ("dbus-daemon", "dunst", "Xvfb")
_STATES = {"Over": "recovered", "Worse": "worse", "Back again": "reopened", "Still open": "reminder"}
_INCIDENT = re.compile(r"\b(i\d+):")


@dataclass(frozen=True)
class Heard:
    """A message as a channel got it. `incident` is null for news; `thread` is what the channel itself joins messages by."""

    channel: str
    incident: str | None
    state: str
    thread: str
    title: str
    text: str


@dataclass
class Channels:
    hook: WebHook
    mail: MailBox
    shown: Path | None  # a line each: the tag that joins a thread, urgency, title
    environment: dict[str, str]
    left_out: str | None

    @property
    def names(self) -> list[str]:
        return ["hook", "mail", *(["desktop"] if self.shown else [])]

    def settings(self) -> str:
        """Return the [alerts] section that sends warnings and what is done here."""
        to = "[" + ", ".join(f'"{name}"' for name in self.names) + "]"
        return (
            '\n[alerts]\nchannels.hook = "env:NIGHT_HOOK"\nchannels.mail = "env:NIGHT_MAIL"\nroutes = [\n'
            f'  {{ min_severity = "warn", to = {to} }},\n'
            f'  {{ min_severity = "info", kinds = ["version.promoted"], to = {to} }},\n]\n'
        )

    def heard(self) -> list[Heard]:
        """Return what every channel got, channel by channel."""
        return [*self._of_hook(), *self._of_mail(), *self._of_desktop()]

    def _of_hook(self) -> Iterator[Heard]:
        for body in self.hook.bodies:
            title = str(body["title"])
            yield Heard("hook", _incident(title), str(body["state"]), str(body["thread"]), title, str(body["message"]))

    def _of_mail(self) -> Iterator[Heard]:
        for mail in self.mail.mails:
            part = mail.get_body(("plain", "html"))
            text = str(part.get_content()) if part is not None else ""
            subject, answers = str(mail["Subject"]), mail["In-Reply-To"]
            state = "opened" if answers is None else "recovered" if "Over after" in text else "worse"
            yield Heard("mail", _incident(subject), state, str(answers or mail["Message-ID"]), subject, text)

    def _of_desktop(self) -> Iterator[Heard]:
        for line in self.shown.read_text("utf-8").splitlines() if self.shown and self.shown.exists() else []:
            tag, _, title = line.split("\t")
            state = _STATES.get(title.partition(":")[0], "opened")
            yield Heard("desktop", _incident(title), state, tag, title, "")


@contextlib.contextmanager
def channels(folder: Path) -> Iterator[Channels]:
    """Open all channels; `folder` keeps what the desktop showed."""
    missing = [name for name in _DESKTOP_PROGRAMS if shutil.which(name) is None]
    with contextlib.ExitStack() as stack:
        hook, mail = stack.enter_context(web_hook()), stack.enter_context(mail_server())
        environment = {"NIGHT_HOOK": hook.url, "NIGHT_MAIL": mail.url}
        shown = None
        if not missing:
            environment["DBUS_SESSION_BUS_ADDRESS"] = stack.enter_context(session_bus(folder))
            shown = stack.enter_context(_desktop(folder, environment, stack.enter_context(screen())))
        left_out = f"the desktop was left out: {', '.join(missing)} not installed" if missing else None
        yield Channels(hook, mail, shown, environment, left_out)


@contextlib.contextmanager
def _desktop(folder: Path, environment: dict[str, str], display: str) -> Iterator[Path]:
    """Run dunst, which writes a line for each notification that it shows."""
    shown, script, settings = folder / "desktop.tsv", folder / "shown.sh", folder / "dunstrc"
    script.write_text(
        f'#!/bin/sh\nprintf \'%s\\t%s\\t%s\\n\' "$DUNST_STACK_TAG" "$DUNST_URGENCY" "$DUNST_SUMMARY" >> \'{shown}\'\n'
    )
    script.chmod(0o755)
    settings.write_text(f'[global]\nnotification_limit = 0\n[log]\nsummary = "*"\nscript = {script}\n')
    command = ["dunst", "-conf", str(settings)]
    daemon = subprocess.Popen(command, env={**os.environ, **environment, "DISPLAY": display}, stderr=subprocess.DEVNULL)
    try:
        _await_name(environment)
        yield shown
    finally:
        daemon.terminate()
        daemon.wait()


def _await_name(environment: dict[str, str]) -> None:
    """Wait until a program shows notifications on the bus."""
    from jeepney import DBus
    from jeepney.io.blocking import open_dbus_connection

    bus = open_dbus_connection(environment["DBUS_SESSION_BUS_ADDRESS"])
    while not bus.send_and_get_reply(DBus().NameHasOwner("org.freedesktop.Notifications")).body[0]:
        time.sleep(0.05)
    bus.close()


def _incident(title: str) -> str | None:
    found = _INCIDENT.search(title)
    return found.group(1) if found else None
