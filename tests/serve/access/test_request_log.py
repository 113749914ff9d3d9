"""The log of requests: what is kept, what is not, and what happens when it can't be written."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from serving_door import NOON, Clock, Open, answered, ask

from stoker.errors import StoreLost
from stoker.serve.access import OPEN
from stoker.serve.keyring import Keyring
from stoker.serve.log_queries import lost_lines, quantile, requests, totals

PROMPT = [{"role": "user", "content": "how many?"}]


def kept(serving: Path, columns: str = "prompt, answer") -> list[tuple[object, ...]]:
    connection = sqlite3.connect(serving / "requests.db")
    rows = connection.execute(f"SELECT {columns} FROM requests ORDER BY rowid").fetchall()
    connection.close()
    return rows


def test_a_request_is_logged_with_what_it_took(door: Open, keyring: Keyring, serving: Path) -> None:
    made, text = keyring.add("key", "ci")
    access = door()
    id = answered(access, ask(access, text), status=500, error="the engine ended", confidence=0.25)
    assert access.log.flush()
    assert requests(serving) == [
        {
            "id": id, "time": NOON, "kind": "key", "key": made.id, "model": "main/v1", "endpoint": "chat.completions",
            "status": 500, "tokens_in": 5, "tokens_out": 3, "first_token_seconds": 0.1, "seconds": 0.5,
            "error": "the engine ended", "confidence": 0.25,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("keep", [False, True])
def test_prompts_are_kept_only_when_asked_for(door: Open, serving: Path, keep: bool) -> None:
    access = door(keep_prompts=keep)
    answered(access, OPEN, prompt=PROMPT, answer="seven")
    access.close()
    stored = [path.read_bytes() for path in serving.iterdir()]
    assert any(b"how many" in one for one in stored) == keep
    if keep:
        assert [(orjson.loads(str(prompt)), answer) for prompt, answer in kept(serving)] == [(PROMPT, "seven")]


def test_hostile_values_cost_no_other_line(door: Open, serving: Path) -> None:
    access = door(keep_prompts=True)
    answered(access, OPEN, prompt=[{"role": "user", "content": "\ud800"}], answer="\udcff", error="\ud800")
    answered(access, OPEN, tokens_in=2**80, tokens_out=-4, seconds=float("nan"), prompt={"x": object()}, model="\udfff")
    answered(access, OPEN, prompt="plain", answer="fine")
    assert access.log.flush() and len(requests(serving)) == 3 and lost_lines(serving) == 0
    assert totals(serving)["all"]["requests"] == 3


def test_old_requests_are_forgotten_after_log_days(door: Open, serving: Path, clock: Clock) -> None:
    access = door(log_days=2)
    answered(access, OPEN)
    access.close()
    clock.time += 3 * 86_400
    for days, left in ((0, 2), (30, 3), (2, 3)):
        access = door(log_days=days)
        answered(access, OPEN)
        access.close()
        assert len(requests(serving)) == left


def test_a_full_disk_costs_lines_and_is_told_once(
    door: Open, keyring: Keyring, serving: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, text = keyring.add("key", "ci")
    access = door()
    grant = ask(access, text)
    monkeypatch.setenv("STOKER_FAULT", "requests.write:enospc")
    monkeypatch.setattr("stoker.faults._reached", Counter())
    with caplog.at_level(logging.WARNING, "stoker.serve.log"):
        answered(access, grant)
        assert access.log.flush(30)
        answered(access, grant)
        assert access.log.flush(30)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and "requests go on" in told[0] and "1 lines were lost" in told[1]
    assert len(requests(serving)) == 1 and lost_lines(serving) == 1
    rows = sqlite3.connect(serving / "requests.db").execute("SELECT requests FROM usage").fetchall()
    assert rows == [(2,)], "what a key used is written later, never lost"


def test_a_busy_file_costs_nothing_and_nobody_waits(door: Open, serving: Path) -> None:
    access = door()
    writer = sqlite3.connect(serving / "requests.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    began = time.thread_time()
    for _ in range(100):
        answered(access, OPEN)
    assert time.thread_time() - began < 5
    writer.execute("ROLLBACK")
    writer.close()
    assert access.log.flush(60) and len(requests(serving, most=200)) == 100


def test_a_deleted_log_is_begun_anew_and_said(door: Open, serving: Path, caplog: pytest.LogCaptureFixture) -> None:
    access = door()
    answered(access, OPEN)
    access.log.flush()
    (serving / "requests.db").unlink()
    id = answered(access, OPEN)
    assert access.log.flush(30) and [one["id"] for one in requests(serving)] == [id]
    assert "was deleted while requests were answered" in caplog.text


def test_a_damaged_log_is_an_error_at_the_start(door: Open, serving: Path) -> None:
    serving.mkdir()
    (serving / "requests.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StoreLost, match=r"requests\.db is damaged"):
        door()
    with pytest.raises(StoreLost):
        requests(serving)


def test_totals_count_by_key_and_model_with_latencies(door: Open, keyring: Keyring, serving: Path) -> None:
    access = door()
    grant = access.authorise(None, scope="generate")
    for seconds in range(1, 101):
        answered(access, grant, seconds=float(seconds), first_token_seconds=None, model=f"main/v{seconds % 2}")
    made, text = keyring.add("key", "ci")
    answered(access, ask(access, text), status=503, model="other_x")
    access.log.flush()
    found = totals(serving)
    assert found["all"] | {"seconds_p50": 0, "seconds_p95": 0} == {
        "requests": 101, "failed": 1, "tokens_in": 505, "tokens_out": 303, "seconds_p50": 0, "seconds_p95": 0,
        "first_token_seconds_p50": 0.1, "first_token_seconds_p95": 0.1,
    }  # fmt: skip
    by_key = {one["key"]: one for one in found["by_key"]}
    assert (by_key["open"]["seconds_p50"], by_key["open"]["seconds_p95"]) == (50.5, pytest.approx(95.05))
    assert by_key[made.id]["failed"] == 1
    assert [one["model"] for one in found["by_model"]] == ["main/v0", "main/v1", "other_x"]
    assert totals(serving, model="main")["all"]["requests"] == 100
    assert totals(serving, model="otherxx")["all"]["requests"] == totals(serving, model="o%")["all"]["requests"] == 0
    assert totals(serving, passes=[made.id])["all"]["requests"] == 1
    assert totals(serving, since=NOON + 1)["all"]["requests"] == 0
    assert quantile([], 0.5) is None


def test_nothing_is_read_where_nothing_was_served(serving: Path) -> None:
    assert requests(serving) == [] and totals(serving)["by_key"] == [] and not serving.exists()
