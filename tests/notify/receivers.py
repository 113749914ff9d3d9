"""Real receivers of messages on this machine: a web server, a mail server, a desktop's notification daemon."""

from __future__ import annotations

import contextlib
import email
import email.policy
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import orjson


@dataclass
class WebHook:
    """`status`: what it answers; `delay_seconds`: how long it takes to."""

    port: int
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    delay_seconds: float = 0.0

    @property
    def url(self) -> str:
        return f"json://localhost:{self.port}/hook"


@contextlib.contextmanager
def web_hook() -> Iterator[WebHook]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(hook.delay_seconds)
            hook.bodies.append(orjson.loads(body))
            hook.headers.append(dict(self.headers))
            with contextlib.suppress(OSError):  # the sender may have given up
                self.send_response(hook.status)
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    hook = WebHook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailBox:
    port: int
    mails: list[EmailMessage] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"mailto://localhost:{self.port}?from=stoker@example.org&to=ann@example.org"


@contextlib.contextmanager
def mail_server() -> Iterator[MailBox]:
    from aiosmtpd.controller import Controller

    class Keep:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            box.mails.append(message)
            return "250 kept"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        box = MailBox(free.getsockname()[1])
    controller = Controller(Keep(), hostname="localhost", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def can_have_a_session() -> bool:
    return shutil.which("dbus-daemon") is not None


_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"""
"""A session bus that starts no service by itself, whatever this machine has installed."""


@contextlib.contextmanager
def session_bus(folder: Path) -> Iterator[str]:
    """A D-Bus session bus of its own; yields its address."""
    config = folder / "bus.conf"
    config.write_text(_BUS)
    with _process("dbus-daemon", f"--config-file={config}", "--print-address=1", "--nofork") as line:
        yield line.decode().strip()


@contextlib.contextmanager
def notification_daemon(address: str, record: Path) -> Iterator[None]:
    """A process that shows notifications on the bus by writing them to `record`, a line each."""
    with _process(sys.executable, __file__, str(record), DBUS_SESSION_BUS_ADDRESS=address) as line:
        assert line == b"ready\n"
        yield


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """An X server without a screen; yields its display."""
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    try:
        with os.fdopen(read_end) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def _process(*command: str, **environment: str) -> Iterator[bytes]:
    """Run a process; yields the first line it prints."""
    child = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    try:
        yield child.stdout.readline()
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()


def _show_notifications(record: Path) -> None:
    from jeepney import DBus, MessageType, new_error, new_method_return
    from jeepney.io.blocking import open_dbus_connection
    from jeepney.low_level import HeaderFields

    bus = open_dbus_connection("SESSION")
    bus.send_and_get_reply(DBus().RequestName("org.freedesktop.Notifications"))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    count = 0
    while True:
        call = bus.receive()
        if call.header.message_type is not MessageType.method_call:
            continue
        member = call.header.fields[HeaderFields.member]
        if member == "Notify":
            count += 1
            _, _, _, title, text, _, hints, _ = call.body
            shown = {"title": title, "text": text, "urgency": hints["urgency"][1]}
            with record.open("ab") as file:
                file.write(orjson.dumps(shown) + b"\n")
            bus.send(new_method_return(call, "u", (count,)))
        elif member == "GetServerInformation":
            bus.send(new_method_return(call, "ssss", ("recorder", "stoker", "1.0", "1.2")))
        else:
            bus.send(new_error(call, "org.freedesktop.DBus.Error.UnknownMethod"))


if __name__ == "__main__":
    _show_notifications(Path(sys.argv[1]))
