"""Who gets in and who does not, and why; revocation; files that are gone or damaged."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving_door import Clock, Open, ask

from stoker.errors import InvalidInput, NotAllowed, StoreLost, UsageError
from stoker.serve.access import Access
from stoker.serve.errors import ApiError
from stoker.serve.keyring import Keyring, Limits
from stoker.serve.keys import NotAKey, make, parse


def refused(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


def eventually(is_true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_true()


def is_let_in(access: Access, text: str) -> bool:
    try:
        ask(access, text)
    except ApiError:
        return False
    return True


def test_without_a_key_a_loopback_server_is_open_until_the_first_one_is_made(door: Open, keyring: Keyring) -> None:
    access = door()
    assert ask(access).kind == "open"
    _, text = keyring.add("key", "ci")
    assert eventually(lambda: not is_let_in(access, ""))
    error = refused(lambda: ask(access))
    assert (
        error.status == 401
        and "stoker serve key new" in error.message
        and error.headers["WWW-Authenticate"] == "Bearer"
    )
    assert ask(access, text).kind == "key"


@pytest.mark.parametrize(
    ("keys", "is_loopback", "is_open"), [("always", True, False), ("never", False, True), ("auto", False, False)]
)
def test_the_setting_of_keys_decides_before_any_is_made(
    door: Open, keys: str, is_loopback: bool, is_open: bool
) -> None:
    access = door(keys=keys, is_loopback=is_loopback)
    if is_open:
        assert ask(access).kind == "open"
    else:
        assert refused(lambda: ask(access)).status == 401


def test_a_key_made_a_moment_ago_is_known_at_once(door: Open, keyring: Keyring) -> None:
    access = door(keys="always")
    for number in range(5):
        made, text = keyring.add("key", f"key {number}")
        assert ask(access, text).id == made.id


def test_a_revoked_key_is_refused_and_the_server_opens_no_more(door: Open, keyring: Keyring) -> None:
    _, text = keyring.add("key", "ci")
    access = door()
    assert ask(access, text).kind == "key"
    keyring.revoke("key", "ci")
    assert eventually(lambda: not is_let_in(access, text))
    error = refused(lambda: ask(access, text))
    assert (error.status, error.code) == (401, "revoked_api_key") and text not in error.message
    assert refused(lambda: ask(access)).status == 401


def test_a_key_expires_to_the_second(door: Open, keyring: Keyring, clock: Clock) -> None:
    _, text = keyring.add("key", "ci", seconds=60)
    access = door()
    clock.time += 59.9
    assert ask(access, text).kind == "key"
    clock.time += 0.1
    error = refused(lambda: ask(access, text))
    assert (error.status, error.code) == (401, "expired_api_key") and "2026-11-21 12:01 UTC" in error.message


def test_what_is_no_key_is_told_apart(door: Open, keyring: Keyring) -> None:
    _, text = keyring.add("key", "ci")
    _, link = keyring.add("link", "for Ann", models=["main"])
    access = door()
    swapped = text[:-1] + ("a" if text[-1] != "a" else "b")
    for wrong, words in (
        (text[:-4], "incomplete or mistyped"),
        (swapped, "checksum does not fit"),
        ("sk-proj-abc", "form stk_"),
        (make("key")[1], "made in this lab"),
        (link, "/share/LINK/"),
        ("stk_\udcff", "checksum"),
    ):
        error = refused(lambda wrong=wrong: ask(access, wrong))
        assert (error.status, error.code) == (401, "invalid_api_key") and words in error.message
        assert wrong not in error.message
    for header in ("Basic abc", "Bearer", "Bearer   ", text):
        assert refused(lambda header=header: access.authorise(header, scope="generate")).status == 401
    assert "send it as Authorization" in refused(lambda: ask(access, link=text)).message


def test_the_same_id_with_another_secret_is_refused(
    door: Open, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = keyring.add("key", "ci")
    access = door()
    letters = iter(made.id.removeprefix("stk_") + "0" * 32)
    monkeypatch.setattr("stoker.serve.keys.secrets.choice", lambda _: next(letters))
    forged, text = make("key")
    assert forged.id == made.id and refused(lambda: ask(access, text)).code == "invalid_api_key"


def test_scopes_and_models_limit_a_key(door: Open, keyring: Keyring) -> None:
    _, narrow = keyring.add("key", "reader", scopes=["models"])
    _, text = keyring.add("key", "ci", models=["main", "other/v2"])
    access = door()
    error = refused(lambda: ask(access, narrow))
    assert (error.status, error.code) == (403, "scope_not_allowed")
    assert ask(access, text, model="main/v7").allows("main") and ask(access, text, model="other/v2")
    assert access.authorise(f"Bearer {text}", scope="generate", model=("@champion", "main/v3"))
    assert refused(lambda: ask(access, text, model="@champion")).status == 403
    error = refused(lambda: ask(access, text, model="other/v3"))
    assert (error.status, error.code, error.body()["error"]["param"]) == (403, "model_not_allowed", "model")


def test_a_link_is_for_its_model_alone_and_ends(door: Open, keyring: Keyring, clock: Clock) -> None:
    _, link = keyring.add("link", "for Ann", models=["main/v1"], seconds=60, limits=Limits(requests_in_all=2))
    access = door(keys="never")
    grant = ask(access, link=link)
    assert grant.kind == "link" and grant.models == {"main/v1"}
    assert refused(lambda: ask(access, link=link, model="main/v2")).status == 403
    clock.time += 30
    for _ in range(2):
        access.begin(ask(access, link=link), model="main/v1", endpoint="chat", max_tokens=1)
    error = refused(lambda: access.begin(grant, model="main/v1", endpoint="chat", max_tokens=1))
    assert error.status == 429 and "good for 2 requests" in error.message and "Retry-After" not in error.headers
    clock.time += 60
    assert refused(lambda: ask(access, link=link)).code == "expired_share_link"


def test_keys_are_kept_as_hashes_in_a_file_for_the_owner(keyring: Keyring, serving: Path) -> None:
    _, text = keyring.add("key", "ci")
    secret = text.split("_")[2]
    assert all(secret.encode() not in path.read_bytes() for path in serving.iterdir())
    assert keyring.path.stat().st_mode & 0o077 == 0


def test_the_text_of_a_key_proves_itself() -> None:
    parsed, text = make("key")
    assert parse(text) == parsed and len({make("key")[1] for _ in range(200)}) == 200
    for place in range(4, len(text)):
        for changed in (
            text[:place] + text[place + 1 :],
            text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :],
        ):
            with pytest.raises(NotAKey):
                parse(changed)


def test_keys_that_are_gone_or_damaged_close_the_door_and_say_so(door: Open, keyring: Keyring) -> None:
    _, text = keyring.add("key", "ci")
    access = door()
    kept = keyring.path.read_bytes()
    for spoil in (
        lambda: keyring.path.unlink(),
        lambda: keyring.path.write_bytes(b""),
        lambda: keyring.path.write_bytes(b"x" * 8192),
    ):
        spoil()
        assert eventually(lambda: not is_let_in(access, text))
        error = refused(lambda: ask(access))
        assert (error.status, error.code) == (503, "keys_unreadable") and "keys.db" in error.message
        with pytest.raises(StoreLost, match=r"keys\.db"):
            door()
        keyring.path.write_bytes(kept)
        assert eventually(lambda: is_let_in(access, text))


def test_after_a_loss_new_keys_can_be_made(door: Open, keyring: Keyring) -> None:
    keyring.add("key", "ci")
    keyring.path.unlink()
    keyring.add("link", "for Ann", models=["main"])
    assert refused(lambda: ask(door())).status == 401
    _, text = keyring.add("key", "ci")
    assert ask(door(), text).kind == "key"


def test_a_file_of_a_newer_stoker_is_left_alone(keyring: Keyring, door: Open) -> None:
    keyring.add("key", "ci")
    connection = sqlite3.connect(keyring.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreLost, match="schema 99"):
        door()
    with pytest.raises(StoreLost, match="schema 99"):
        keyring.add("key", "other")


def test_a_busy_file_leaves_what_was_read_last(door: Open, keyring: Keyring) -> None:
    _, text = keyring.add("key", "ci")
    access = door()
    assert ask(access, text)
    writer = sqlite3.connect(keyring.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("UPDATE passes SET revoked_at = 1")
    assert ask(access, text).kind == "key"
    writer.execute("COMMIT")
    writer.close()
    assert eventually(lambda: not is_let_in(access, text))


@pytest.mark.parametrize("name", ["", "  ", " ci", "a\x1b[31mb", "a\nb", "x\u202ey", "n" * 65, "\udcff"])
def test_names_that_can_not_be_read_are_refused(keyring: Keyring, name: str) -> None:
    with pytest.raises(InvalidInput):
        keyring.add("key", name)


def test_bad_scopes_limits_and_taken_names_are_refused(keyring: Keyring) -> None:
    with pytest.raises(UsageError, match="generate, feedback, models"):
        keyring.add("key", "ci", scopes=["generat"])
    with pytest.raises(InvalidInput, match="1 or more"):
        keyring.add("key", "ci", limits=Limits(concurrency=0))
    keyring.add("key", "ci")
    with pytest.raises(NotAllowed, match="already"):
        keyring.add("key", "ci")
    keyring.revoke("key", "ci")
    keyring.add("key", "ci")
    assert [one.state(0) for one in keyring.passes("key")] == ["revoked", "valid"]
