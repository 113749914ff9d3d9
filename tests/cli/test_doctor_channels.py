"""`stoker doctor` and [alerts]: every channel is looked at, nothing is sent, and no secret is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stoker.workspace import Workspace

Stoker = Callable[..., Any]
CANARY = "canary-4711"


@pytest.fixture(autouse=True)
def headless(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def look(stoker: Stoker, lab: Workspace, alerts: str) -> dict[str, dict[str, str]]:
    with lab.settings.open("a") as file:
        file.write(f"[alerts]\n{alerts}\n")
    assert CANARY not in stoker("doctor").out
    answer = stoker("doctor", "--json")
    assert CANARY not in answer.out + answer.err
    assert answer.code == 0, "a channel is nothing that training needs"
    return {finding["name"]: finding for finding in answer.json()}


def test_a_lab_without_channels_says_that_nobody_is_told(stoker: Stoker, lab: Workspace) -> None:
    found = look(stoker, lab, "")
    assert found["alerts"]["state"] == "ok" and "nobody is told" in found["alerts"]["detail"]
    assert found["desktop"]["state"] == "ok" and "no desktop session" in found["desktop"]["detail"]


def test_a_reference_that_resolves_is_ok_and_one_that_does_not_says_what_is_missing(
    stoker: Stoker, lab: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHONE", f"json://localhost:1/{CANARY}")
    monkeypatch.setenv("WRONG", f"nowhere://{CANARY}")
    monkeypatch.delenv("PAGER", raising=False)
    (lab.root / "mail.url").write_text(f"json://localhost:1/{CANARY}\n")
    channels = {"phone": "env:PHONE", "wrong": "env:WRONG", "pager": "env:PAGER", "mail": "file:mail.url",
                "gone": "file:gone.url", "hook": f"json://localhost:1/{CANARY}"}  # fmt: skip
    found = look(stoker, lab, "\n".join(f'channels.{name} = "{url}"' for name, url in channels.items()))
    states = {name: found[f"channel {name}"]["state"] for name in channels}
    assert states == {"phone": "ok", "wrong": "warn", "pager": "warn", "mail": "ok", "gone": "warn", "hook": "ok"}
    assert "env:PHONE, json://***" in found["channel phone"]["detail"]
    assert "stoker alert test phone" in found["channel phone"]["detail"]
    assert "apprise does not take" in found["channel wrong"]["detail"]
    assert "PAGER is not set" in found["channel pager"]["detail"] and "export PAGER" in found["channel pager"]["remedy"]
    assert "gone.url can't be read" in found["channel gone"]["detail"]
    assert "alerts" not in found


def test_a_channel_that_no_route_leads_to_is_told(stoker: Stoker, lab: Workspace) -> None:
    urls = 'channels.a = "json://localhost:1/"\nchannels.b = "json://localhost:1/"\n'
    found = look(stoker, lab, urls + 'routes = [{ to = ["a"] }]')
    assert [found[f"channel {name}"]["state"] for name in "ab"] == ["ok", "warn"]
    assert "no route leads to it" in found["channel b"]["detail"]


def test_a_desktop_that_is_routed_to_and_not_there_is_a_warning(stoker: Stoker, lab: Workspace) -> None:
    found = look(stoker, lab, 'channels.screen = "desktop"\nroutes = [{ to = ["desktop", "screen"] }]')
    for name in ("desktop", "channel screen"):
        assert found[name]["state"] == "warn" and "another channel" in found[name]["remedy"]


def test_the_disk_is_low_by_the_settings_of_the_guard_once_a_checkpoint_is_known(
    stoker: Stoker, lab: Workspace
) -> None:
    checkpoint = lab.run("r1") / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    (checkpoint / "weights.safetensors").write_bytes(b"x" * 100_000)
    found = look(stoker, lab, "")
    assert found["disk"]["state"] == "ok"
    stoker("config", "set", "guard.disk_reserve_megabytes", "1000000000")
    found = {one["name"]: one for one in stoker("doctor", "--json").json()}
    assert found["disk"]["state"] == "warn" and "are needed" in found["disk"]["detail"]
