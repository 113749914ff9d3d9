"""`stoker alert`: what is open, who was told, a channel tried for real, being left in peace."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import insert

from stoker.spec.reading import read_settings
from stoker.store import tables as t
from stoker.store.store import Store
from stoker.supervisor.alerting import Told, mute, plan
from stoker.supervisor.incidents import enter_events
from stoker.workspace import Workspace

Stoker = Callable[..., Any]
CANARY = "canary-4711"


@pytest.fixture
def hook_port() -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("localhost", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def troubled(history: Workspace) -> Workspace:
    """A lab in which one incident was told and is over, and one is open and muted."""
    with history.settings.open("a") as file:
        file.write(f'[alerts]\nchannels.phone = "env:PHONE"\nchannels.hook = "json://localhost:1/{CANARY}"\n')
        file.write('routes = [{ to = ["phone"] }]\nquiet_hours = "22:00-07:00"\ndigest_minutes = 15\n')
    now = time.time()
    store = Store(history.store, now=lambda: now)
    store.claim()
    with store.transaction() as tx:
        tx.event("warn", "run.crashed", "r1 crashed at step 2", run="r1")
        tx.event("info", "run.done", "r1 is done", run="r1")
        tx.event("critical", "run.failed", "r2 failed: no", run="r2")
        told = Told(tx, read_settings(history.settings).alerts, None, "lab")
        mute(tx, "failed", now + 3600)
        plan(told, enter_events(tx, 60.0))
        tx.execute(
            insert(t.alerts).values(
                channel="hook",
                kind="news",
                severity="info",
                title="",
                text="",
                state="failed",
                error="refused",
                created=now,
            )
        )
        tx.put("channels_down", ["hook"])
    store.close()
    return history


def test_the_list_shows_incidents_with_who_was_told_and_how_channels_fare(stoker: Stoker, troubled: Workspace) -> None:
    answer = stoker("alert", "list")
    assert answer.code == 0
    first, second = (line for line in answer.out.splitlines() if line.startswith(("i1", "i2")))
    assert first.split()[:5] == ["i2", "open", "critical", "failed", "r2"] and "phone muted" in first
    assert "recovered" in second and "phone waits until" in second and "r1 crashed at step 2 -> r1 is done" in second
    assert "json://***" in answer.out and "env:PHONE" in answer.out and "down: refused" in answer.out
    assert (
        "quiet hours 22:00-07:00" in answer.err
        and "gathered for 15 min" in answer.err
        and "failed is muted" in answer.err
    )


def test_a_long_story_is_cut_in_the_list_and_whole_with_its_incident(stoker: Stoker, troubled: Workspace) -> None:
    store = Store(troubled.store)
    store.claim()
    with store.transaction() as tx:
        tx.event("critical", "run.failed", f"r9 failed: {'so many words ' * 20}at last", run="r9")
        enter_events(tx, 60.0)
    store.close()
    line = next(line for line in stoker("alert", "list").out.splitlines() if line.startswith("i3"))
    assert "r9 failed: so many" in line and line.rstrip().endswith("...")
    assert "at last" in " ".join(stoker("alert", "show", "i3").out.split())


def test_the_list_has_stable_fields(stoker: Stoker, troubled: Workspace) -> None:
    answer = stoker("alert", "list", "--json").json()
    assert {"incidents", "channels", "mutes", "quiet_hours", "digest_minutes"} <= {*answer}
    incident = answer["incidents"][1]
    assert (incident["id"], incident["state"], incident["outcome"]) == ("i1", "recovered", "r1 is done")
    assert [(one["channel"], one["state"], one["held"] is not None) for one in incident["alerts"]] == [
        ("phone", "waiting", True)
    ]
    assert [(one["name"], one["is_down"]) for one in answer["channels"]] == [("phone", False), ("hook", True)]


def test_an_incident_is_shown_with_its_events_in_order(stoker: Stoker, troubled: Workspace) -> None:
    answer = stoker("alert", "show", "i1")
    assert answer.code == 0
    assert answer.out.index("run.crashed") < answer.out.index("run.done") and "r1 is done" in answer.out
    detail = stoker("alert", "show", "i1", "--json").json()
    assert [event["code"] for event in detail["events"]] == ["run.crashed", "run.done"]
    assert stoker("alert", "show", "i9").code == 3


def test_days_limit_how_far_back_ended_incidents_go(stoker: Stoker, troubled: Workspace) -> None:
    shown = stoker("alert", "list", "--days", "0", "--json").json()["incidents"]
    assert [incident["id"] for incident in shown] == ["i2"]


def test_a_lab_without_channels_says_that_nobody_is_told(stoker: Stoker, lab: Workspace) -> None:
    answer = stoker("alert", "list")
    assert answer.code == 0 and "nobody is told" in answer.err


def test_a_channel_is_tried_for_real(
    stoker: Stoker, lab: Workspace, hook_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", f"json://localhost:{hook_port}/{CANARY}")
    assert stoker("config", "set", "alerts.channels.hook", "env:HOOK").code == 0
    answer = stoker("alert", "test", "hook")
    assert answer.code == 0 and "taken by" in answer.err


def test_a_channel_that_fails_a_test_says_why(
    stoker: Stoker, troubled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = stoker("alert", "test", "hook", "--json")
    assert answer.code == 1 and not answer.json()["is_sent"] and "Connection error" in answer.err
    monkeypatch.delenv("PHONE", raising=False)
    assert "PHONE is not set" in stoker("alert", "test", "phone").err
    answer = stoker("alert", "test", "pager")
    assert answer.code == 3 and "phone, hook, desktop" in answer.err


def test_a_machine_without_a_desktop_says_so(stoker: Stoker, lab: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(lab.root))
    answer = stoker("alert", "test", "desktop")
    assert answer.code == 1 and "this machine has no desktop session" in answer.err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("mute", "phones", "--for", "8h"), 3, "can't be muted"),
        (("mute", "phone", "--for", "eight"), 2, "as in --for 8h"),
        (("mute", "phone", "--for", "0h"), 2, "as in --for 8h"),
        (("mute", "phone", "--for", "8h"), 7, "stoker up"),
        (("unmute",), 7, "stoker up"),
        (("close", "i2"), 7, "stoker up"),
        (("close", "i7"), 3, "stoker alert list"),
    ],
)
def test_what_can_not_be_done_says_why(
    stoker: Stoker, troubled: Workspace, args: tuple[str, ...], code: int, words: str
) -> None:
    answer = stoker("alert", *args)
    assert answer.code == code and words in answer.err


def test_no_command_shows_a_url(stoker: Stoker, troubled: Workspace) -> None:
    for args in (
        ("alert", "list"), ("alert", "list", "--json"), ("alert", "test", "hook"), ("alert", "test", "hook", "--json"),
        ("config", "show"), ("config", "show", "--json"), ("config", "set", "alerts.channels.more", f"json://localhost/{CANARY}"),
        ("config", "set", "alerts.channels.bad", f"nope://{CANARY}"), ("config", "set", "alerts.channels", CANARY), ("doctor",), ("status",),
    ):  # fmt: skip
        answer = stoker(*args)
        assert CANARY not in answer.out + answer.err, args


def test_status_names_the_open_incidents_the_worst_first(stoker: Stoker, history: Workspace) -> None:
    assert stoker("status", "--json").json()["open_incidents"] == []
    assert "incidents" not in stoker("status").out
    known = {"num_events": 1, "updated_at": 9.0, "closed_at": None, "kind": "crash"}
    rows = [
        {"id": f"i{n}", "number": n, "subject": f"r{n}", "severity": severity, "state": state, "title": f"title {n}",
         "opened_at": 1.0 * n, **known}
        for n, (severity, state) in enumerate(
            [("warn", "open"), ("critical", "recovered"), ("info", "open"), ("critical", "open"), ("warn", "open")], 1
        )
    ]  # fmt: skip
    store = Store(history.store)
    store.claim()
    with store.transaction() as tx:
        for row in rows:
            tx.execute(insert(t.incidents).values(**row))
    store.close()
    told = stoker("status", "--json").json()["open_incidents"]
    assert [one["id"] for one in told] == ["i4", "i5", "i1", "i3"]
    assert told[0].keys() == {"id", "kind", "subject", "severity", "title", "num_events", "opened_at"}
    lines = stoker("status").out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("incidents"))
    assert "4 open, the worst 3 are" in lines[place]
    assert ["critical i4 (r4)" in lines[place + 1], "i5" in lines[place + 2], "i1" in lines[place + 3]] == [True] * 3
    assert "title 4" in lines[place + 1] and "i3" not in "".join(lines)
