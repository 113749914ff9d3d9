"""[alerts]: channels and routes are checked before anything changes, and no URL is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.errors import InvalidInput, SettingError, UserError
from stoker.spec.channels import redact, resolve_channel, shown
from stoker.spec.reading import check_settings, read_settings
from stoker.spec.writing import set_value

CANARY = "canary-secret-4711"


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("alerts.channels.bad", CANARY, ["alerts.channels.bad", "neither a URL nor a reference", "env:NAME"]),
        ("alerts.channels.bad", f"foo://{CANARY}", ["does not parse", "foo://***"]),
        ("alerts.channels.bad", "json://", ["does not parse"]),
        ("alerts.channels.bad", "env:", ["no name"]),
        ("alerts.channels.bad", "file:", ["no path"]),
        ("alerts.channels.Bad", "env:X", ["can't name a channel", "lower-case"]),
        ("alerts.channels.disk", "env:X", ["can't name a channel"]),
        ("alerts.channels", "3", ["alerts.channels is not a table of text"]),
        ("alerts.routes", "[{ to = ['pager'] }]", ['route 1 goes to "pager"', "phone, desktop", "alerts.channels.pager"]),
        ("alerts.routes", "[{ to = ['phone'], kinds = ['disk-ful'] }]", ['kind "disk-ful"', "disk"]),
        ("alerts.routes", "[{ to = [] }]", ["goes nowhere"]),
        ("alerts.routes", "[{}]", ["number 1: to is missing"]),
        ("alerts.routes", "[{ to = ['phone'], severity = 'warn' }]", ["severity is not a key of it", "min_severity"]),
        ("alerts.routes", "[{ to = ['phone'], min_severity = 'high' }]", ["min_severity is wrong", "critical"]),
        ("alerts.routes", "phone", ["is not a list of tables"]),
        ("alerts.quiet_hours", "22-7", ["not a span of hours", "22:00-07:00"]),
        ("alerts.quiet_hours", "25:00-07:00", ["not a span of hours"]),
        ("alerts.quiet_hours", "07:00-07:00", ["the whole day", "stoker alert mute all"]),
        ("lab.timezone", "Mars/Base", ["not a time zone", "Europe/Berlin"]),
        ("alerts.urgent_severity", "loud", ['one of "info", "warn", "critical"']),
        ("alerts.digest_minutes", "-1", ["below 0"]),
        ("alerts.channels.phone.x", "env:X", ["not a setting"]),
    ],
)  # fmt: skip
def test_a_mistake_names_rule_and_remedy_and_changes_nothing(
    tmp_path: Path, key: str, value: str, parts: list[str]
) -> None:
    path = tmp_path / "stoker.toml"
    path.write_text('[alerts]\nchannels.phone = "env:PHONE" # mine\n')
    before = path.read_bytes()
    with pytest.raises(UserError) as raised:
        set_value(path, key, value)
    assert raised.value.remedy
    for part in parts:
        assert part in str(raised.value)
    assert CANARY not in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "start",
    ["", '[alerts]\nchannels.mail = "env:MAIL" # mine\n', '[alerts.channels]\nmail = "env:MAIL" # mine\n'],
    ids=["new", "dotted", "section"],
)
def test_a_channel_is_added_beside_the_others(tmp_path: Path, start: str) -> None:
    path = tmp_path / "stoker.toml"
    path.write_text(start)
    set_value(path, "alerts.channels.phone", f"ntfys://{CANARY}")
    set_value(path, "alerts.routes", '[{ min_severity = "critical", to = ["phone", "desktop"] }]')
    set_value(path, "alerts.quiet_hours", "22:00-7:00")
    spec = read_settings(path).alerts
    assert spec.channels["phone"].get_secret_value() == f"ntfys://{CANARY}"
    assert ("mail" in spec.channels) == bool(start)
    assert spec.routes[0].to == ("phone", "desktop")
    assert spec.quiet_span == ((22, 0), (7, 0))
    assert ("# mine" in path.read_text()) == bool(start)


def test_a_dump_and_a_repr_hold_no_url() -> None:
    spec = check_settings({"alerts": {"channels": {"hook": f"json://localhost/{CANARY}", "mail": "env:MAIL"}}})
    assert spec.model_dump(mode="json")["alerts"]["channels"] == {"hook": "json://***", "mail": "env:MAIL"}
    assert CANARY not in repr(spec) + spec.model_dump_json()


def test_a_broken_file_repeats_no_url(tmp_path: Path) -> None:
    path = tmp_path / "stoker.toml"
    path.write_text(f'[alerts]\nchannels.phone = "{CANARY}"\n')
    with pytest.raises(SettingError) as raised:
        read_settings(path)
    assert CANARY not in str(raised.value)


def test_a_reference_is_resolved_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "hook.url").write_text("json://localhost/x\nsecond line\n")
    assert resolve_channel("file:hook.url", tmp_path) == "json://localhost/x"
    assert resolve_channel(f"file:{tmp_path}/hook.url", Path("/")) == "json://localhost/x"
    assert resolve_channel("env:HOOK", tmp_path, {"HOOK": " json://h "}) == "json://h"
    assert resolve_channel("json://h", tmp_path) == "json://h"


def test_a_reference_to_nothing_says_which(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for channel, words in (("env:HOOK", "HOOK is not set"), ("file:no.url", "no.url can't be read"), ("file:empty", "empty is empty")):  # fmt: skip
        with pytest.raises(InvalidInput, match=words):
            resolve_channel(channel, tmp_path, {})


def test_what_is_shown_of_a_channel_is_no_secret() -> None:
    assert shown("ntfys://topic") == "ntfys://***"
    assert shown("env:HOOK") == "env:HOOK"
    assert shown("file:///x") == "file://***"


def test_other_programs_words_lose_every_part_of_a_url() -> None:
    url = "mailto://joe:p%40ssw0rd@mail.example.org:25/?to=ann@example.org"
    words = f"could not log in to mail.example.org as joe with p@ssw0rd / p%40ssw0rd ({url}): refused"
    clean = redact(words, url)
    assert not [part for part in ("p@ssw0rd", "p%40ssw0rd", "mail.example.org", "example.org") if part in clean]
    assert "refused" in clean
