"""Messages reach real services on this machine, in one thread, and what fails says why without a secret."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from receivers import (
    MailBox,
    WebHook,
    can_have_a_session,
    mail_server,
    notification_daemon,
    screen,
    session_bus,
    web_hook,
)

from stoker.errors import NotAllowed
from stoker.notify import desktop, process
from stoker.notify.send import Message
from stoker.spec.channels import DESKTOP

CANARY = "canary-4711"


@pytest.fixture
def hook() -> Iterator[WebHook]:
    with web_hook() as made:
        yield made


@pytest.fixture
def mailbox() -> Iterator[MailBox]:
    with mail_server() as made:
        yield made


def message(kind: str = "opened", alert: int = 1, severity: str = "warn", **fields: Any) -> Message:
    facts = {
        "title": "lab i3: crash of r4",
        "text": "r4 crashed\nMore: stoker alert show i3",
        "thread": "lab.i3.phone.1",
    }
    return Message(alert=alert, kind=kind, severity=severity, key=f"lab.alert{alert}.1", **{**facts, **fields})


def send(
    folder: Path, url: str, *messages: Message, channel: str = "phone", timeout_seconds: float = 20.0
) -> list[dict[str, Any]]:
    """Send with a real sender and return what its journal says."""
    _, offset = process.heard(folder, channel, 0)
    process.start(folder, channel, url, messages, timeout_seconds).wait(90)
    return process.heard(folder, channel, offset)[0]


def test_a_web_hook_gets_the_message_with_its_thread_and_a_key_against_doubles(tmp_path: Path, hook: WebHook) -> None:
    outcomes = send(tmp_path, hook.url, message(), message("recovered", 2, "info"))
    assert [(one["alert"], one["is_sent"], one["error"]) for one in outcomes] == [(1, True, None), (2, True, None)]
    assert [body["title"] for body in hook.bodies] == ["Warning: lab i3: crash of r4", "Over: lab i3: crash of r4"]
    assert {body["thread"] for body in hook.bodies} == {"lab.i3.phone.1"}
    assert [body["state"] for body in hook.bodies] == ["opened", "recovered"]
    assert [headers["Idempotency-Key"] for headers in hook.headers] == ["lab.alert1.1", "lab.alert2.1"]
    assert "stoker alert show i3" in hook.bodies[0]["message"]


def test_mails_of_an_incident_are_one_thread_and_a_double_has_the_same_id(tmp_path: Path, mailbox: MailBox) -> None:
    send(tmp_path, mailbox.url, message(), message(), message("recovered", 2, "info"))
    first, double, answer = mailbox.mails
    assert first["Subject"] == "lab i3: crash of r4" and answer["Subject"] == "Re: lab i3: crash of r4"
    assert first["Message-ID"] == double["Message-ID"] == "<lab.i3.phone.1@stoker.invalid>"
    assert answer["In-Reply-To"] == answer["References"] == first["Message-ID"] != answer["Message-ID"]
    assert [len(mail.get_all("Message-ID")) for mail in mailbox.mails] == [1, 1, 1]
    assert "r4 crashed" in first.as_string()


def test_a_report_goes_with_its_mail(tmp_path: Path, mailbox: MailBox) -> None:
    report = tmp_path / "day.html"
    report.write_text("<h1>All well</h1>")
    send(tmp_path, mailbox.url, message("news", attachment=str(report)))
    assert [part.get_filename() for part in mailbox.mails[0].iter_attachments()] == ["day.html"]


@pytest.mark.parametrize(
    "url",
    [
        f"json://user:{CANARY}@localhost:1/{CANARY}?token={CANARY}",
        f"mailto://user:{CANARY}@localhost:1?from=a@example.org&to={CANARY}@example.org",
        f"nothing://{CANARY}",
    ],
)
def test_a_failure_says_why_and_holds_no_secret(tmp_path: Path, url: str) -> None:
    [outcome] = send(tmp_path, url, message())
    assert not outcome["is_sent"] and outcome["error"]
    for path in tmp_path.iterdir():
        assert CANARY.encode() not in path.read_bytes()


def test_a_service_that_refuses_is_a_failure(tmp_path: Path, hook: WebHook) -> None:
    hook.status = 500
    [outcome] = send(tmp_path, hook.url, message())
    assert not outcome["is_sent"] and "500" in outcome["error"]


def test_a_service_that_never_answers_holds_neither_the_starter_nor_the_sender(tmp_path: Path, hook: WebHook) -> None:
    hook.delay_seconds = 6.0
    begin = time.monotonic()
    sender = process.start(tmp_path, "phone", hook.url, [message()], 1.0)
    started = time.monotonic() - begin
    sender.wait(60)
    [outcome] = process.heard(tmp_path, "phone", 0)[0]
    assert not outcome["is_sent"] and started < 5.0


def test_only_one_sender_is_at_work_for_a_channel(tmp_path: Path, hook: WebHook) -> None:
    hook.delay_seconds = 2.0
    first = process.start(tmp_path, "phone", hook.url, [message()], 20.0)
    while not process.is_sending(tmp_path, "phone"):
        time.sleep(0.01)
    second = process.start(tmp_path, "phone", hook.url, [message(alert=2)], 20.0)
    second.wait(60)
    first.wait(60)
    assert [one["alert"] for one in process.heard(tmp_path, "phone", 0)[0]] == [1]
    assert not process.is_sending(tmp_path, "phone")


def test_the_url_is_on_no_command_line(tmp_path: Path, hook: WebHook) -> None:
    hook.delay_seconds = 1.0
    sender = process.start(tmp_path, "phone", f"{hook.url}/{CANARY}", [message()], 20.0)
    words = (
        Path(f"/proc/{sender.child.pid}/cmdline").read_bytes() + Path(f"/proc/{sender.child.pid}/environ").read_bytes()
    )
    sender.wait(60)
    assert CANARY.encode() not in words and len(hook.bodies) == 1


def test_a_machine_without_a_desktop_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    [outcome] = send(tmp_path, DESKTOP, message())
    assert not outcome["is_sent"] and "no desktop session" in outcome["error"]


def test_a_desktop_session_that_is_gone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    [outcome] = send(tmp_path, DESKTOP, message())
    assert not outcome["is_sent"] and "session bus can't be reached" in outcome["error"]


@pytest.mark.skipif(not can_have_a_session(), reason="no dbus-daemon: apt-get install dbus")
def test_a_desktop_shows_the_message_and_one_without_a_daemon_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tmp_path / "shown"
    with session_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        [outcome] = send(tmp_path, DESKTOP, message())
        assert not outcome["is_sent"] and "ServiceUnknown" in outcome["error"]
        with pytest.raises(NotAllowed, match="the desktop shows nothing"):
            desktop.find()
        with notification_daemon(address, shown):
            assert desktop.find() == "recorder 1.0" and not shown.exists(), "asked, and nothing shown"
            outcomes = send(
                tmp_path, DESKTOP, message(severity="critical", text="a < b"), message("recovered", 2, "info")
            )
    assert [(one["is_sent"], one["by"]) for one in outcomes] == [(True, "recorder 1.0")] * 2
    first, second = (orjson.loads(line) for line in shown.read_bytes().splitlines())
    assert first == {"title": "Critical: lab i3: crash of r4", "text": "a &lt; b", "urgency": 2}
    assert second["title"].startswith("Over: ")


@pytest.mark.skipif(
    not all(map(shutil.which, ("dbus-daemon", "dunst", "dunstctl", "Xvfb"))), reason="apt-get install dbus dunst xvfb"
)
def test_a_real_notification_daemon_shows_one_message_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with session_bus(tmp_path) as address, screen() as display:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
        daemon = subprocess.Popen(["dunst"], env={**os.environ, "DISPLAY": display}, stderr=subprocess.DEVNULL)
        try:
            while not (outcome := send(tmp_path, DESKTOP, message(severity="critical"))[0])["is_sent"]:
                assert "ServiceUnknown" in outcome["error"] and daemon.poll() is None  # it is not up yet
            [after] = send(tmp_path, DESKTOP, message("recovered", 2, "info"))
            told = subprocess.run(["dunstctl", "count"], capture_output=True, text=True, check=True).stdout
        finally:
            daemon.terminate()
            daemon.wait()
    assert outcome["by"].startswith("dunst ") and after["is_sent"]
    assert "Currently displayed: 1" in told  # the recovery took the place of the alarm


def test_a_sender_whose_starter_died_before_the_work_arrived_ends_quietly(tmp_path: Path) -> None:
    sender = process.start(tmp_path, "phone", "json://localhost:1", [], 1.0)
    sender.wait(60)
    assert sender.child.returncode == 0
    assert list(tmp_path.iterdir()) == []
