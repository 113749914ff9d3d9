"""Who is told what, and when: one alert an incident and channel, held back, gathered, muted, tried again, sent once.

The senders here write to the journal as the real ones do, at once; real services are in tests/notify.
"""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from stoker.mailbox.intents import await_reply, post_intent
from stoker.mailbox.journal import append_record
from stoker.notify.process import Sender, journal_path
from stoker.notify.send import Message
from stoker.store import tables as t
from stoker.store.store import set_fields
from stoker.supervisor.inbox import Inbox
from stoker.supervisor.intents import Intents
from stoker.supervisor.telling import Telling

MINUTE = 60.0
HOUR = 3600.0
BOTH = {"phone": "env:PHONE_URL", "mail": "env:MAIL_URL"}


class Post:
    """Takes messages as a sender does. `down`: channels that nothing reaches; `is_silent`: it dies without a word."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.sent: list[tuple[str, Message]] = []
        self.down: set[str] = set()
        self.is_silent = False
        self.num_starts = 0
        self.timeout_seconds = 0.0

    def start(
        self, folder: Path, channel: str, url: str, messages: list[Message], timeout_seconds: float, **_: Any
    ) -> Sender:
        self.num_starts += 1
        self.timeout_seconds = timeout_seconds
        for message in messages:
            is_sent = channel not in self.down
            if is_sent:
                self.sent.append((channel, message))
            record = {
                "alert": message.alert,
                "time": self.lab.clock.now,
                "is_sent": is_sent,
                "error": None if is_sent else "refused",
            }
            if not self.is_silent:
                append_record(journal_path(folder, channel), record)
        child = subprocess.Popen(["true"])
        child.wait()
        return Sender(child, [message.alert for message in messages])

    def kinds(self, channel: str = "phone") -> list[str]:
        return [message.kind for name, message in self.sent if name == channel]

    def last(self) -> Message:
        return self.sent[-1][1]


class Watch:
    """A lab with its part that tells, and what reached people."""

    def __init__(self, lab: Any) -> None:
        self.lab, self.post = lab, Post(lab)
        self.telling = Telling(lab.context, self.post.start)

    def settings(self, **alerts: Any) -> None:
        self.lab.spec(lab={"timezone": "Europe/Berlin"}, alerts={"channels": {"phone": "env:PHONE_URL"}, **alerts})

    def event(self, severity: str, code: str, text: str = "it happened", **fields: Any) -> None:
        fields.setdefault("run", "r1")
        with self.lab.store.transaction() as tx:
            tx.event(severity, code, text, **fields)
        self.turn()

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and the supervisor turn until nothing more comes of it."""
        self.lab.clock.now += seconds
        for _ in range(4):
            self.telling.tick()

    def alerts(self) -> list[Any]:
        with self.lab.store.transaction() as tx:
            return tx.rows(select(t.alerts).order_by(t.alerts.c.id))

    def states(self) -> list[str]:
        return [alert.state for alert in self.alerts()]


@pytest.fixture
def watch(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setenv("PHONE_URL", "json://localhost/phone")
    monkeypatch.setenv("MAIL_URL", "json://localhost/mail")
    lab.dataset()
    made = Watch(lab)
    made.settings()
    return made


def berlin(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def test_ten_events_make_one_alert_and_the_recovery_answers_it(watch: Watch) -> None:
    for number in range(10):
        watch.event("warn", "run.crashed", f"crash {number}")
    watch.event("info", "run.done", "r1 is done")
    assert watch.post.kinds() == ["opened", "recovered"]
    (_, first), (_, second) = watch.post.sent
    assert first.title == second.title == "lab i1: crash of r1"
    assert first.thread == second.thread and first.key != second.key
    assert "crash 0" in first.text and "r1 is done" in second.text and "stoker alert show i1" in second.text


def test_an_incident_that_grows_worse_is_told_once_more(watch: Watch) -> None:
    watch.event("warn", "run.crashed")
    watch.event("critical", "run.parked", "r1 is parked")
    watch.event("critical", "run.parked", "r1 is parked")
    assert watch.post.kinds() == ["opened", "worse"]
    assert watch.post.last().severity == "critical" and "r1 is parked" in watch.post.last().text


def test_a_channel_for_what_is_critical_hears_of_it_first_when_it_is(watch: Watch) -> None:
    watch.settings(channels=BOTH, routes=[{"to": ["mail"]}, {"min_severity": "critical", "to": ["phone"]}])
    watch.event("warn", "run.crashed")
    assert (watch.post.kinds("mail"), watch.post.kinds("phone")) == (["opened"], [])
    watch.event("critical", "run.parked")
    assert (watch.post.kinds("mail"), watch.post.kinds("phone")) == (["opened", "worse"], ["opened"])


def test_a_cause_that_comes_and_goes_does_not_flood(watch: Watch) -> None:
    for _ in range(20):
        watch.event("warn", "memory-trend")
        watch.turn(MINUTE)
        watch.event("info", "recovery.resumed")
    assert watch.post.kinds() == ["opened", "recovered"]


def test_a_cause_that_comes_back_and_stays_is_told_again(watch: Watch) -> None:
    watch.event("warn", "memory-trend")
    watch.event("info", "recovery.resumed")
    watch.event("warn", "memory-trend")
    watch.turn(29 * MINUTE)
    assert watch.post.kinds() == ["opened", "recovered"]
    watch.turn(2 * MINUTE)
    assert watch.post.kinds() == ["opened", "recovered", "reopened"]


def test_reopen_minutes_of_zero_makes_each_return_a_new_incident(watch: Watch) -> None:
    watch.settings(reopen_minutes=0)
    for _ in range(2):
        watch.event("warn", "memory-trend")
        watch.event("info", "recovery.resumed")
        watch.turn(1.0)
    assert watch.post.kinds() == ["opened", "recovered"] * 2


def test_quiet_hours_hold_back_what_is_not_urgent_and_tell_it_in_one_message(watch: Watch) -> None:
    watch.lab.clock.now = berlin("2026-03-28 23:30")  # the night has only eight hours
    watch.settings(quiet_hours="22:00-07:00")
    watch.event("warn", "loss-spike", "a spike at step 7")
    watch.event("warn", "dataset.waiting", "it waits", run=None, dataset="d1")
    watch.event("critical", "disk-full", "no space")
    assert [message.title for _, message in watch.post.sent] == ["lab i3: disk"]
    watch.lab.clock.now = berlin("2026-03-29 06:59")
    watch.turn()
    assert len(watch.post.sent) == 1
    watch.turn(MINUTE)
    digest = watch.post.last()
    assert (len(watch.post.sent), digest.kind, digest.title) == (2, "digest", "lab: 2 messages")
    assert "a spike at step 7" in digest.text and "it waits" in digest.text
    assert watch.states() == ["gathered", "gathered", "sent", "sent"]


def test_what_is_over_before_it_was_told_is_told_as_over(watch: Watch) -> None:
    watch.lab.clock.now = berlin("2026-06-01 23:30")
    watch.settings(quiet_hours="22:00-07:00")
    watch.event("warn", "run.crashed", "crashed at step 7")
    watch.event("info", "run.done", "r1 is done")
    watch.lab.clock.now = berlin("2026-06-02 07:00")
    watch.turn()
    assert watch.post.kinds() == ["opened"]
    assert "crashed at step 7" in watch.post.last().text and "Over already" in watch.post.last().text


def test_what_grows_urgent_in_quiet_hours_breaks_through(watch: Watch) -> None:
    watch.lab.clock.now = berlin("2026-06-01 23:30")
    watch.settings(quiet_hours="22:00-07:00")
    watch.event("warn", "run.crashed")
    assert watch.post.sent == []
    watch.event("critical", "run.parked", "r1 is parked")
    assert [message.severity for _, message in watch.post.sent] == ["critical"]


def test_a_digest_gathers_for_its_minutes(watch: Watch) -> None:
    watch.settings(digest_minutes=30)
    watch.event("warn", "loss-spike")
    watch.turn(20 * MINUTE)
    watch.event("warn", "plateau")
    assert watch.post.sent == []
    watch.turn(10 * MINUTE)
    assert watch.post.kinds() == ["digest"]


def test_urgent_severity_says_what_a_digest_does_not_hold(watch: Watch) -> None:
    watch.settings(digest_minutes=30, urgent_severity="warn")
    watch.event("warn", "loss-spike")
    assert watch.post.kinds() == ["opened"]


def test_many_incidents_in_an_hour_go_as_one_message(watch: Watch) -> None:
    watch.settings(max_per_hour=3)
    for number in range(30):
        watch.event("warn", "file.rejected", f"f{number} was rejected", run=None, dataset=f"d{number}")
    assert watch.post.kinds() == ["opened"] * 3
    watch.turn(HOUR)
    assert watch.post.kinds() == ["opened"] * 3 + ["digest"]
    assert watch.post.last().text.count("was rejected") == 27


def test_what_is_urgent_waits_five_minutes_at_most_in_a_flood(watch: Watch) -> None:
    watch.settings(max_per_hour=1)
    watch.event("warn", "loss-spike")
    watch.event("critical", "run.failed", run="r2")
    assert len(watch.post.sent) == 1
    watch.turn(5 * MINUTE)
    assert [message.severity for _, message in watch.post.sent] == ["warn", "critical"]


def test_an_urgent_incident_that_stays_open_is_repeated_when_asked(watch: Watch) -> None:
    watch.event("critical", "run.failed")
    watch.turn(HOUR)
    assert watch.post.kinds() == ["opened"]
    watch.settings(repeat_minutes=60)
    watch.turn(HOUR)
    watch.turn(HOUR / 2)
    assert watch.post.kinds() == ["opened", "reminder"]
    watch.event("info", "queue.retried")
    watch.turn(2 * HOUR)
    assert watch.post.kinds() == ["opened", "reminder"]


def test_a_message_is_tried_again_with_longer_and_longer_waits(watch: Watch) -> None:
    watch.settings(retry_seconds=10, retry_attempts=4)
    watch.post.down = {"phone"}
    watch.event("warn", "run.crashed")
    starts = []
    for _ in range(100):
        starts.append(watch.post.num_starts)
        watch.turn(1.0)
    assert [starts.index(number) for number in (1, 2, 3, 4)] == [0, 10, 30, 70]
    [alert] = [one for one in watch.alerts() if one.incident == "i1"]
    assert (alert.state, alert.attempts, alert.error) == ("failed", 4, "refused")


def test_a_channel_that_fails_is_said_once_through_the_others_and_again_when_it_works(watch: Watch) -> None:
    watch.settings(channels=BOTH, retry_seconds=10)
    watch.post.down = {"phone"}
    watch.event("warn", "run.crashed")
    watch.event("warn", "loss-spike")
    for _ in range(30):
        watch.turn(1.0)
    assert watch.lab.codes.count("alerts.unreachable") == 1
    assert [message.title for name, message in watch.post.sent if "notifier" in message.title] == [
        "lab i2: notifier of phone"
    ]
    watch.post.down = set()
    watch.turn(HOUR)
    assert watch.lab.codes.count("alerts.reachable") == 1
    assert watch.post.kinds("phone") == ["opened", "opened"]
    assert watch.post.last().kind == "recovered" or "recovered" in watch.post.kinds("mail")


def test_a_reference_that_gives_nothing_is_a_failure_with_its_reason(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PHONE_URL")
    watch.event("warn", "run.crashed")
    assert "PHONE_URL is not set" in watch.alerts()[0].error
    assert watch.lab.codes.count("alerts.unreachable") == 1
    monkeypatch.setenv("PHONE_URL", "json://localhost/phone")
    watch.turn(MINUTE)
    assert watch.post.kinds() == ["opened"]


def test_a_sender_that_dies_without_a_word_counts_as_a_try(watch: Watch) -> None:
    watch.post.is_silent = True
    watch.event("warn", "run.crashed")
    assert "without a word" in watch.alerts()[0].error
    watch.post.is_silent = False
    watch.turn(MINUTE)
    assert watch.states()[0] == "sent"


def test_a_restart_between_event_and_alert_sends_once(watch: Watch) -> None:
    with watch.lab.store.transaction() as tx:
        tx.event("warn", "run.crashed", "crash", run="r1")
    for _ in range(3):
        again = Watch(watch.lab)
        again.post = watch.post
        again.telling = Telling(watch.lab.context, watch.post.start)
        again.turn()
    assert watch.post.kinds() == ["opened"]


def test_what_a_sender_did_while_no_supervisor_ran_is_heard(watch: Watch) -> None:
    watch.event("warn", "run.crashed")
    with watch.lab.store.transaction() as tx:  # as if the supervisor had been killed before it heard
        tx.execute(t.alerts.update().values(state="waiting", sent_at=None, not_before=0.0))
        tx.put("alerts_heard_to", {})
    Telling(watch.lab.context, watch.post.start).tick()
    assert (watch.states(), len(watch.post.sent)) == (["sent"], 1)


def test_mutes_by_channel_kind_and_all(watch: Watch) -> None:
    watch.settings(channels=BOTH)
    intents = Intents(watch.lab.context, Inbox(watch.lab.context), lambda: None)

    def ask(kind: str, **fields: Any) -> dict[str, Any]:
        intent = post_intent(watch.lab.workspace.intents, kind, **fields)
        intents.tick()
        return await_reply(watch.lab.workspace.intents, intent, 1.0) or {}

    assert ask("alert.mute", name="phone", seconds=HOUR)["result"] == {"until": watch.lab.clock.now + HOUR}
    watch.event("warn", "run.crashed")
    assert (watch.post.kinds("phone"), watch.post.kinds("mail")) == ([], ["opened"])
    ask("alert.mute", name="plateau", seconds=HOUR)
    watch.event("warn", "plateau")
    assert watch.post.kinds("mail") == ["opened"]
    watch.turn(HOUR + 1)
    assert watch.post.kinds("phone") == [], "what was muted is not told late"
    watch.event("warn", "overfitting")
    assert watch.post.kinds("phone") == ["opened"]
    ask("alert.mute", name="all", seconds=HOUR)
    watch.event("critical", "run.failed", run="r2")
    assert watch.post.kinds("phone") == ["opened"]
    assert ask("alert.unmute")["result"] == {"names": ["all"]}
    watch.event("critical", "run.failed", run="r3")
    assert watch.post.kinds("phone") == ["opened", "opened"]
    assert ask("alert.close", incident="i5")["error"] is None
    assert ask("alert.close", incident="i5")["error"]["exit_code"] == 4
    assert ask("alert.close", incident="i99")["error"]["exit_code"] == 3


def test_good_news_goes_where_it_is_asked_for(watch: Watch) -> None:
    watch.settings(
        channels=BOTH,
        routes=[{"to": ["phone"]}, {"min_severity": "info", "kinds": ["run.done", "report.ready"], "to": ["mail"]}],
    )
    watch.event("info", "run.done", "r1 is done: main/v1")
    watch.event("info", "version.promoted", "main/v1 is the champion", version="main/v1")
    watch.event("info", "report.ready", "All well", run=None, path="/lab/reports/day.html")
    assert [(name, message.title) for name, message in watch.post.sent] == [
        ("mail", "lab: run.done"),
        ("mail", "lab: report.ready"),
    ]
    assert watch.post.last().attachment == "/lab/reports/day.html"


def test_a_sender_gets_the_timeout_of_the_settings(watch: Watch) -> None:
    watch.settings(timeout_seconds=7)
    watch.event("warn", "run.crashed")
    assert watch.post.timeout_seconds == 7.0


def test_a_long_history_is_read_in_several_turns(watch: Watch) -> None:
    with watch.lab.store.transaction() as tx:
        for number in range(1200):
            tx.event("info", "worker.recycled", f"worker {number}")
        tx.event("warn", "run.crashed", "crash", run="r1")
    watch.turn()
    assert watch.post.kinds() == ["opened"]


def test_a_message_about_a_file_names_it(watch: Watch) -> None:
    watch.event("warn", "file.rejected", run=None, dataset=f"d{1:012x}")
    assert watch.post.last().title == "lab i1: rejected of f1.jsonl"


def test_a_changed_route_holds_from_the_next_event_on(watch: Watch) -> None:
    settings = watch.lab.workspace.settings
    settings.write_text('[alerts]\nchannels.mail = "env:MAIL_URL"\n')
    watch.event("warn", "run.crashed")
    assert [name for name, _ in watch.post.sent] == ["mail"]


def test_a_model_of_its_own_route(watch: Watch) -> None:
    watch.settings(channels=BOTH, routes=[{"models": ["legal"], "to": ["mail"]}])
    watch.event("warn", "run.crashed")
    with watch.lab.store.transaction() as tx:
        set_fields(tx, t.runs, "r1", model="legal")
    watch.event("warn", "loss-spike")
    assert [message.title for _, message in watch.post.sent] == ["lab i2: loss-spike of r1"]


def test_a_channel_that_left_the_settings_fails_what_waits_for_it(watch: Watch) -> None:
    watch.post.down = {"phone"}
    watch.event("warn", "run.crashed")
    watch.settings(channels={})
    watch.turn(HOUR)
    assert watch.alerts()[0].error == "phone is no longer a channel of the settings"


def test_no_url_reaches_the_store(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONE_URL", "json://canary-4711@localhost")
    watch.event("warn", "run.crashed")
    watch.lab.store.close()
    for path in watch.lab.workspace.state.rglob("*"):
        assert not path.is_file() or b"canary-4711" not in path.read_bytes(), path
