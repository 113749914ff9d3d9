"""`stoker serve key`, `link`, `log` and `propose`: what people type, and what they are told."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from stoker.cli.durations import moment, seconds
from stoker.errors import UsageError
from stoker.serve.access import OPEN, Access, Grant
from stoker.serve.errors import ApiError
from stoker.serve.feedback import Feedback, keep_feedback
from stoker.spec.serving import ServeSpec
from stoker.workspace import Workspace

Stoker = Callable[..., Any]


@pytest.fixture
def access(lab: Workspace) -> Iterator[Access]:
    opened = Access(lab.serving, ServeSpec(keep_prompts=True), is_loopback=True)
    yield opened
    opened.close()


def answered(
    access: Access, grant: Grant = OPEN, *, prompt: str = "how many?", answer: str = "six", **fields: Any
) -> str:
    ticket = access.begin(grant, model=fields.pop("model", "main/v1"), endpoint="chat.completions", max_tokens=8)
    took = {"status": 200, "tokens_in": 5, "tokens_out": 3, "first_token_seconds": 0.1, "seconds": 2.5}
    ticket.end(prompt=[{"role": "user", "content": prompt}], answer=answer, **(took | fields))
    access.log.flush()
    return ticket.id


def test_a_key_is_shown_once_and_works(stoker: Stoker, lab: Workspace, access: Access) -> None:
    made = stoker(
        "serve", "key", "new", "ci", "--scope", "generate", "--model", "base", "--expires", "30d", "--json"
    ).json()
    assert list(made) == [
        "id", "name", "state", "scopes", "models", "created_at", "expires_at", "revoked_at", "requests_per_day",
        "tokens_per_day", "concurrency", "key",
    ]  # fmt: skip
    assert (made["scopes"], made["models"], made["state"]) == (["generate"], ["base"], "valid")
    assert made["expires_at"] - made["created_at"] == 30 * 86_400
    grant = access.authorise(f"Bearer {made['key']}", scope="generate", model="base")
    assert grant.id == made["id"]
    for answer in (stoker("serve", "key", "list"), stoker("serve", "key", "list", "--json")):
        assert made["id"] in answer.out and made["key"][13:] not in answer.out
    assert "until 20" in stoker("serve", "key", "list").out
    assert stoker("serve", "key", "new", "brief", "--expires", "90m").out.startswith("stk_")
    assert "min" in stoker("serve", "key", "list").out and " left" in stoker("serve", "key", "list").out


def test_limits_hold_for_the_key_and_use_is_listed(stoker: Stoker, lab: Workspace, access: Access) -> None:
    options = ("--requests-per-day", "2", "--tokens-per-day", "500", "--concurrency", "1")
    text = stoker("serve", "key", "new", "ci", *options).out.strip()
    grant = access.authorise(f"Bearer {text}", scope="generate")
    for _ in range(2):
        answered(access, grant)
    with pytest.raises(ApiError):
        access.begin(grant, model="base", endpoint="chat", max_tokens=1)
    access.log.flush()
    (listed,) = stoker("serve", "key", "list", "--json").json()
    assert [listed[name] for name in ("requests_today", "tokens_today", "refused_today")] == [2, 16, 1]
    assert "2 of 2" in stoker("serve", "key", "list").out and "16 of 500" in stoker("serve", "key", "list").out


def test_a_running_server_refuses_a_revoked_key_within_a_second(stoker: Stoker, lab: Workspace, access: Access) -> None:
    text = stoker("serve", "key", "new", "ci").out.strip()
    assert access.authorise(f"Bearer {text}", scope="generate").kind == "key"
    assert stoker("serve", "key", "revoke", text, "--json").json()["state"] == "revoked"
    time.sleep(0.6)
    with pytest.raises(ApiError, match="revoked"):
        access.authorise(f"Bearer {text}", scope="generate")
    again = stoker("serve", "key", "revoke", "ci")
    assert again.code == 0 and "is revoked" in again.err


def test_a_link_is_made_listed_and_revoked(stoker: Stoker, lab: Workspace, access: Access) -> None:
    made = stoker(
        "serve", "link", "new", "base", "--expires", "7d", "--requests", "1", "--name", "for Ann", "--json"
    ).json()
    assert made["url"] == f"http://127.0.0.1:9000/share/{made['link']}/v1" and made["model"] == "base"
    assert made["expires_at"] - made["created_at"] == 7 * 86_400 and made["requests_in_all"] == 1
    grant = access.authorise(None, scope="generate", model="base", link=made["link"])
    answered(access, grant)
    with pytest.raises(ApiError, match="good for 1"):
        access.begin(grant, model="base", endpoint="chat", max_tokens=1)
    (listed,) = stoker("serve", "link", "list", "--json").json()
    assert (listed["id"], listed["requests"]) == (made["id"], 1) and made["link"] not in str(listed)
    assert "1 of 1" in stoker("serve", "link", "list").out
    assert stoker("serve", "link", "revoke", made["url"]).code == 0
    assert stoker("serve", "link", "list", "--json").json()[0]["state"] == "revoked"
    assert stoker("serve", "link", "new", "base").out.strip().endswith("/v1")


def test_a_model_means_the_version_that_people_mean(stoker: Stoker, history: Workspace) -> None:
    for word, stored in (("v1", "main/v1"), ("main", "main"), ("main/v1", "main/v1"), ("@latest", "main/v1"), ("@champion", "@champion")):  # fmt: skip
        assert stoker("serve", "link", "new", word, "--json").json()["model"] == stored


def test_two_processes_make_keys_at_once(lab: Workspace) -> None:
    command = [sys.executable, "-m", "stoker", "serve", "key", "new"]
    started = [
        subprocess.Popen([*command, name], cwd=lab.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two", "same", "same")
    ]
    ended = [(process.communicate(timeout=120), process.returncode) for process in started]
    assert sorted(code for _, code in ended) == [0, 0, 0, 4], ended
    access = Access(lab.serving, ServeSpec(), is_loopback=True)
    for (out, _), code in ended:
        if code == 0:
            assert access.authorise(f"Bearer {out.strip()}", scope="generate").kind == "key"
    access.close()


def test_the_log_shows_requests_and_totals(stoker: Stoker, lab: Workspace, access: Access) -> None:
    text = stoker("serve", "key", "new", "ci").out.strip()
    grant = access.authorise(f"Bearer {text}", scope="generate")
    answered(access, grant)
    answered(access, model="main/v2", status=500, error="the engine \x1b[31mended")
    found = stoker("serve", "log", "--json").json()
    assert list(found) == ["since", "requests", "totals", "lost"] and list(found["totals"]) == [
        "all",
        "by_key",
        "by_model",
    ]
    assert [(one["name"], one["status"], one["tokens_out"]) for one in found["requests"]] == [
        ("ci", 200, 3),
        (None, 500, 3),
    ]
    assert "prompt" not in found["requests"][0]
    answer = stoker("serve", "log")
    assert "\x1b" not in answer.out and "<U+001B>" in answer.out and "100 ms" in answer.out and "2.5 s" in answer.out
    for args, num in (
        (("--key", "ci"), 1), (("--key", grant.id), 1), (("--model", "main/v2"), 1), (("--model", "main"), 2),
        (("--since", "2099-01-01"), 0), (("--since", "1h"), 2),
    ):  # fmt: skip
        assert stoker("serve", "log", *args, "--json").json()["totals"]["all"]["requests"] == num, args
    assert len(stoker("serve", "log", "--most", "1", "--json").json()["requests"]) == 1
    assert "the newest 1 of 2" in stoker("serve", "log", "--most", "1").err


def test_a_proposal_is_shown_and_nothing_is_written(stoker: Stoker, lab: Workspace, access: Access) -> None:
    rate(access)
    answer = stoker("serve", "propose")
    assert answer.code == 0 and "corrected" in answer.out and "nothing is written or trained" in answer.err
    assert list(lab.inbox.iterdir()) == []
    found = stoker("serve", "propose", "--json").json()
    assert [one["why"] for one in found["rows"]] == ["liked", "corrected"] and found["written"]["inbox"] is None
    assert [one["messages"][-1]["content"] for one in found["review"]] == ["eleven"]
    assert len(stoker("serve", "propose", "--only", "down", "--json").json()["rows"]) == 1
    assert len(stoker("serve", "propose", "--most", "1", "--json").json()["rows"]) == 1
    assert stoker("serve", "propose", "--since", "2099-01-01", "--json").json()["rows"] == []


def test_a_proposal_in_a_file_has_its_disliked_answers_beside(
    stoker: Stoker, lab: Workspace, access: Access, tmp_path: Path
) -> None:
    rate(access)
    out = tmp_path / "rated.jsonl"
    assert stoker("serve", "propose", "--out", out).code == 0
    rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["four", "seven"] and set(rows[0]) == {"messages"}
    (review,) = (orjson.loads(line) for line in (tmp_path / "rated.review.jsonl").read_bytes().splitlines())
    assert review["why"] == "disliked"
    again = stoker("serve", "propose", "--out", out)
    assert again.code == 4 and "nothing is written over" in again.err


def test_a_proposal_in_the_inbox_is_a_file_that_the_gate_takes(
    stoker: Stoker, lab: Workspace, access: Access, tmp_path: Path
) -> None:
    rate(access)
    path = Path(stoker("serve", "propose", "--to-inbox", "thumbs", "--json").json()["written"]["inbox"])
    assert path == lab.inbox / "thumbs.jsonl"
    checked = stoker("data", "check", path, "--json")
    assert checked.json()["rows_in"] == 2 and checked.json()["format"] == "messages"


def rate(access: Access) -> None:
    good = answered(access, prompt="2 + 2?", answer="four", confidence=0.3)
    bad = answered(access, prompt="3 + 4?", answer="six")
    worse = answered(access, prompt="5 + 5?", answer="eleven")
    for said in (Feedback(good, "up"), Feedback(bad, "down", None, "seven"), Feedback(worse, "down")):
        keep_feedback(access, OPEN, said)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("key", "new", "a\x1bb"), 5, "U+001B"),
        (("key", "new", " "), 5, "is no name"),
        (("key", "new", "ci", "--scope", "admin"), 2, "generate, feedback, models"),
        (("key", "new", "ci", "--expires", "30"), 2, "as in --expires 8h"),
        (("key", "new", "ci", "--expires", "0d"), 2, "above 0"),
        (("key", "new", "ci", "--expires", "-3d"), 2, "as in --expires 8h"),
        (("key", "new", "ci", "--expires", "999999999999w"), 2, "hundred years"),
        (("key", "new", "ci", "--concurrency", "0"), 2, "concurrency"),
        (("key", "new", "ci", "--tokens-per-day", "9223372036854775808"), 5, "tokens_per_day"),
        (("key", "new", "ci", "--model", "nope"), 3, "stoker model list"),
        (("key", "revoke", "nope"), 3, "stoker serve key list"),
        (("key", "revoke", ""), 3, "stoker serve key list"),
        (("link", "new", "nope"), 3, "stoker model list"),
        (("link", "new", "base", "--expires", "soon"), 2, "as in --expires 8h"),
        (("link", "revoke", "nope"), 3, "stoker serve link list"),
        (("log", "--since", "yesterday"), 2, "2026-11-20"),
        (("log", "--key", "nope"), 3, "serve key list"),
        (("propose", "--out", "a.jsonl"), 3, "nothing to propose"),
        (("propose", "--out", "no/folder/a.jsonl"), 3, "no folder"),
        (("propose", "--out", "a.jsonl", "--to-inbox", "b"), 2, "exclude each other"),
        (("propose", "--to-inbox", "../b"), 2, "no file name"),
        (("propose", "--to-inbox", "b\n"), 5, "U+000A"),
        (("propose", "--only", "good"), 2, "good"),
    ],
)
def test_what_is_wrong_says_what_and_what_to_do(
    stoker: Stoker, lab: Workspace, args: tuple[str, ...], code: int, words: str
) -> None:
    answer = stoker("serve", *args)
    assert answer.code == code and words in answer.err
    assert not (lab.serving / "keys-were-made").exists() and list(lab.inbox.iterdir()) == []


def test_empty_lists_say_what_to_do(stoker: Stoker, lab: Workspace) -> None:
    for args, words in (
        (("key", "list"), "serve key new"), (("link", "list"), "serve link new"), (("log",), "no requests"),
        (("propose",), "keep_prompts"),
    ):  # fmt: skip
        answer = stoker("serve", *args)
        assert answer.code == 0 and answer.out == "" and words in answer.err
    assert not lab.serving.exists()


def test_damaged_and_lost_files_are_told(stoker: Stoker, lab: Workspace, access: Access) -> None:
    stoker("serve", "key", "new", "ci")
    (lab.serving / "keys.db").write_bytes(b"z" * 9000)
    for args in (("key", "list"), ("key", "new", "more"), ("key", "revoke", "ci"), ("log",)):
        answer = stoker("serve", *args)
        assert answer.code == 4 and "keys.db is damaged" in answer.err and "copy" in answer.err
    (lab.serving / "keys.db").unlink()
    assert "is gone" in stoker("serve", "key", "list").err
    assert stoker("serve", "key", "new", "more").code == 0


def test_times_are_lengths_or_dates() -> None:
    assert [seconds("--for", text) for text in ("90s", "1.5h", "2w")] == [90.0, 5400.0, 1_209_600.0]
    assert moment("--since", "1d", 1e9, None) == 1e9 - 86_400

    assert moment("--since", "2026-11-20T07:00", 0, datetime.UTC) == 1_795_158_000.0
    assert moment("--since", "2026-11-20T07:00+01:00", 0, None) == 1_795_154_400.0
    for text in ("", "h", "nan", "inf", "1e3h", "٣d"):
        with pytest.raises(UsageError):
            moment("--since", text, 0, datetime.timezone(datetime.timedelta(hours=23)))
