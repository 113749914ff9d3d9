"""Notifications of the desktop that this user is logged in to.

On Linux they go over the D-Bus session bus to whatever shows notifications there, and that program's answer is asked
for: a library that reports success without one is why "sent" can mean nothing. A machine without a session says so.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from stoker.errors import NotAllowed

_REPLY_SECONDS = 5.0
_URGENCY = {"info": 0, "warn": 1, "critical": 2}
_ELSEWHERE = {"darwin": "macosx://", "win32": "windows://"}
_NO_SESSION = "a service or a login over ssh has none: use another channel there, or run stoker up inside the desktop"


def apprise_url() -> str | None:
    """Return the apprise URL of this system's notifications, or None where `show` does it."""
    return _ELSEWHERE.get(sys.platform)


def show(title: str, text: str, severity: str, thread: str) -> str:
    """Show a notification and return the name of the program that took it; NotAllowed tells why none did.

    `thread`: where the program can, a message takes the place of the one before it.
    """
    hints = {
        "urgency": ("y", _URGENCY[severity]),
        "x-dunst-stack-tag": ("s", thread),
        "x-canonical-private-synchronous": ("s", thread),
    }
    _ask("Notify", "susssasa{sv}i", ("Stoker", 0, "", title, _escaped(text), [], hints, -1))
    return find()


def find() -> str:
    """Return the name of the program that shows notifications here, and show none; NotAllowed tells why there is none."""
    if sys.platform in _ELSEWHERE:
        return f"the {sys.platform} desktop"
    name, _, version, *_ = _ask("GetServerInformation")
    return f"{name} {version}"


def _ask(method: str, signature: str | None = None, arguments: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """Call whatever shows notifications on the session bus and return its answer."""
    from jeepney import DBusAddress, MessageType, new_method_call
    from jeepney.io.blocking import open_dbus_connection

    place = DBusAddress(
        "/org/freedesktop/Notifications",
        bus_name="org.freedesktop.Notifications",
        interface="org.freedesktop.Notifications",
    )
    try:
        with open_dbus_connection(_session_bus()) as bus:
            answer = bus.send_and_get_reply(
                new_method_call(place, method, signature, arguments), timeout=_REPLY_SECONDS
            )
    except TimeoutError:
        raise NotAllowed(
            "the desktop did not answer", f"it had {_REPLY_SECONDS:g} seconds", "is it locked up?"
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise NotAllowed("the desktop's session bus can't be reached", str(error), _NO_SESSION) from None
    if answer.header.message_type is MessageType.error:
        raise NotAllowed(
            "the desktop shows nothing", _error_words(answer), "start a notification daemon, such as dunst"
        )
    return tuple(answer.body)


def _session_bus() -> str:
    """Return the address of the user's session bus; a user's systemd keeps it at a known place."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    folder = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if (Path(folder) / "bus").exists():
        return f"unix:path={folder}/bus"
    raise NotAllowed("this machine has no desktop session", "there is no D-Bus session bus of this user", _NO_SESSION)


def _escaped(text: str) -> str:
    """Return text in the small markup that the notification specification knows."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _error_words(answer: Any) -> str:
    from jeepney import HeaderFields

    name = str(answer.header.fields.get(HeaderFields.error_name, ""))
    words = str(answer.body[0]) if answer.body else ""
    return f"{name.rpartition('.')[2]}: {words}" if words else name
