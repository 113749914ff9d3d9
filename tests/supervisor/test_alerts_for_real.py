"""The supervisor's part with real senders: a web hook, a mail server, a desktop and a service that is dead, all at once."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1] / "notify"))
from receivers import mail_server, notification_daemon, session_bus, web_hook

from stoker.notify import process
from stoker.store import tables as t
from stoker.supervisor.telling import Telling

CANARY = "canary-4711"


def turn_until(lab: Any, telling: Telling, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_over():
        assert time.monotonic() < deadline, "the alerts did not arrive"
        lab.clock.now += 0.5
        telling.tick()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="apt-get install dbus")
def test_one_alert_an_incident_and_channel_in_one_thread_and_no_secret_anywhere(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab.dataset()
    senders: list[process.Sender] = []

    def start(*arguments: Any, **options: Any) -> process.Sender:
        senders.append(process.start(*arguments, **options))
        return senders[-1]

    shown = tmp_path / "shown"
    with contextlib.ExitStack() as stack:
        hook, mail = stack.enter_context(web_hook()), stack.enter_context(mail_server())
        bus = stack.enter_context(session_bus(tmp_path))
        stack.enter_context(notification_daemon(bus, shown))
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus)
        monkeypatch.setenv("HOOK_URL", f"{hook.url}?token={CANARY}")
        monkeypatch.setenv("MAIL_URL", mail.url)
        lab.spec(
            alerts={
                "channels": {
                    "hook": "env:HOOK_URL",
                    "mail": "env:MAIL_URL",
                    "dead": f"json://u:{CANARY}@localhost:1/x",
                },
                "routes": [{"to": ["hook", "mail", "desktop", "dead"], "kinds": ["crash", "disk"]}],
                "retry_attempts": 2,
                "retry_seconds": 1,
            }
        )
        telling = Telling(lab.context, start)
        begin = time.monotonic()
        for number in range(10):
            with lab.store.transaction() as tx:
                tx.event("warn", "run.crashed", f"crash {number} at step 5", run="r1")
                tx.event("critical", "disk-full", "no space", run="r1")
        telling.tick()
        assert time.monotonic() - begin < 10, "a dead service held the supervisor"
        turn_until(lab, telling, lambda: (len(hook.bodies), len(mail.mails)) == (2, 2))
        telling = Telling(lab.context, start)  # another supervisor, while senders of the first are at work
        with lab.store.transaction() as tx:
            tx.event("info", "run.done", "r1 is done", run="r1")

        def is_all_over() -> bool:
            with lab.store.transaction() as tx:
                return not tx.rows(select(t.alerts).where(t.alerts.c.state == "waiting"))

        telling.tick()
        turn_until(lab, telling, is_all_over)
        for sender in senders:
            sender.wait(60)
    states = [body["state"] for body in hook.bodies]
    assert sorted(states) == ["opened", "opened", "recovered", "recovered"]
    assert len({body["thread"] for body in hook.bodies}) == 2
    for mails in ([mail for mail in mail.mails if kind in mail["Subject"]] for kind in ("crash", "disk")):
        assert mails[1]["In-Reply-To"] == mails[0]["Message-ID"] and mails[1]["Subject"] == f"Re: {mails[0]['Subject']}"
    titles = [orjson.loads(line)["title"] for line in shown.read_bytes().splitlines()]
    assert sorted(title.partition(":")[0] for title in titles) == ["Critical", "Over", "Over", "Warning"]
    assert lab.codes.count("alerts.unreachable") == 1
    lab.store.close()
    assert CANARY not in caplog.text + "".join(lab.texts)
    for path in lab.workspace.root.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
