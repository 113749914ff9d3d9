"""Quotas: what is refused and when to come back; never more than allowed, whatever threads do."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_door import NOON, Clock, Open, answered, ask

from stoker.serve.access import Access, Grant
from stoker.serve.errors import ApiError
from stoker.serve.keyring import Keyring, Limits
from stoker.serve.log_queries import usage
from stoker.serve.quotas import Quotas, day


def begin(access: Access, grant: Grant, max_tokens: int = 16) -> Any:
    return access.begin(grant, model="main/v1", endpoint="chat.completions", max_tokens=max_tokens)


def end(ticket: Any, tokens_out: int = 3, tokens_in: int = 5) -> None:
    ticket.end(status=200, tokens_in=tokens_in, tokens_out=tokens_out, first_token_seconds=None, seconds=0.1)


def keyed(access: Access, keyring: Keyring, **limits: int) -> Grant:
    return ask(access, keyring.add("key", "ci", limits=Limits(**limits))[1])


def test_requests_a_day_are_refused_until_midnight_in_openais_form(door: Open, keyring: Keyring, clock: Clock) -> None:
    access = door()
    grant = keyed(access, keyring, requests_per_day=2)
    for _ in range(2):
        answered(access, grant)
    with pytest.raises(ApiError) as caught:
        begin(access, grant)
    error = caught.value
    assert (error.status, error.headers["Retry-After"]) == (429, str(12 * 3600))
    assert error.body()["error"] | {"message": ""} == {
        "message": "", "type": "insufficient_quota", "param": None, "code": "insufficient_quota",
    }  # fmt: skip
    clock.time += 12 * 3600
    assert answered(access, grant)


def test_requests_at_once_come_back_soon_and_a_ticket_ends_once(door: Open, keyring: Keyring) -> None:
    access = door()
    grant = keyed(access, keyring, concurrency=1)
    ticket = begin(access, grant)
    with pytest.raises(ApiError) as caught:
        begin(access, grant)
    assert (caught.value.status, caught.value.code, caught.value.headers["Retry-After"]) == (
        429,
        "rate_limit_exceeded",
        "1",
    )
    end(ticket)
    end(ticket)
    begin(access, grant)
    with pytest.raises(ApiError):
        begin(access, grant)


def test_tokens_are_set_aside_while_a_request_runs_and_what_it_left_is_given_back(door: Open, keyring: Keyring) -> None:
    access = door()
    grant = keyed(access, keyring, tokens_per_day=100)
    first = begin(access, grant, 60)
    with pytest.raises(ApiError) as caught:
        begin(access, grant, 60)
    assert caught.value.headers["Retry-After"] == "1" and "running requests" in caught.value.message
    end(first, tokens_out=20, tokens_in=10)
    second = begin(access, grant, 60)
    end(second, tokens_out=60, tokens_in=0)
    with pytest.raises(ApiError, match="lower max_tokens") as caught:
        begin(access, grant, 60)
    assert caught.value.headers["Retry-After"] == str(12 * 3600)
    end(begin(access, grant, 10), tokens_out=10, tokens_in=50)
    with pytest.raises(ApiError, match="0 of the 100 tokens"):
        begin(access, grant, 1)


def test_what_was_used_outlives_the_server(door: Open, keyring: Keyring, serving: Path, clock: Clock) -> None:
    access = door()
    grant = keyed(access, keyring, requests_per_day=3, requests_in_all=4)
    for _ in range(2):
        answered(access, grant)
    access.close()
    access = door()
    answered(access, grant)
    with pytest.raises(ApiError):
        begin(access, grant)
    access.log.flush()
    assert usage(serving, day(NOON))[grant.id] == {
        "requests": 3, "tokens": 24, "requests_today": 3, "tokens_today": 24, "refused_today": 1,
    }  # fmt: skip
    clock.time += 86_400
    answered(access, grant)
    with pytest.raises(ApiError, match="good for 4"):
        begin(access, grant)


def test_two_servers_of_a_lab_learn_what_the_other_let_through(door: Open, keyring: Keyring) -> None:
    first, second = door(), door()
    grant = keyed(first, keyring, requests_per_day=10)
    for access in (first, second, first, second):
        for _ in range(2):
            answered(access, grant)
        access.log.flush()
    answered(first, grant)
    first.log.flush()
    answered(second, grant)
    second.log.flush()
    with pytest.raises(ApiError):
        begin(second, grant)


def test_a_request_over_midnight_counts_its_tokens_on_the_day_it_ends(
    door: Open, keyring: Keyring, clock: Clock
) -> None:
    access = door()
    grant = keyed(access, keyring, tokens_per_day=100)
    ticket = begin(access, grant, 90)
    clock.time += 86_400
    with pytest.raises(ApiError):
        begin(access, grant, 20)
    end(ticket, tokens_out=85, tokens_in=0)
    end(begin(access, grant, 15), tokens_out=1, tokens_in=0)


@settings(max_examples=25, deadline=None)
@given(
    limits=st.builds(
        Limits,
        requests_per_day=st.none() | st.integers(1, 30),
        tokens_per_day=st.none() | st.integers(1, 300),
        concurrency=st.none() | st.integers(1, 4),
        requests_in_all=st.none() | st.integers(1, 30),
    ),
    asked=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=8, max_size=60),
)
def test_threads_never_get_more_than_is_allowed(limits: Limits, asked: list[tuple[int, float]]) -> None:
    quotas, lock = Quotas(), threading.Lock()
    seen = {"requests": 0, "tokens": 0, "running": 0, "most": 0}
    work = list(asked)

    def client() -> None:
        while True:
            begun: list[tuple[int, int]] = []
            for _ in range(3):
                with lock:
                    if not work:
                        break
                    max_tokens, share = work.pop()
                try:
                    quotas.begin("k", limits, max_tokens, NOON)
                except ApiError as error:
                    assert error.status == 429
                    continue
                begun.append((max_tokens, int(max_tokens * share)))
                with lock:
                    seen["requests"] += 1
                    seen["running"] += 1
                    seen["most"] = max(seen["most"], seen["running"])
            for max_tokens, tokens in begun:
                with lock:
                    seen["tokens"] += tokens
                    seen["running"] -= 1
                quotas.end("k", max_tokens, tokens, NOON)
            if not work:
                return

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for allowed, taken in (
        (limits.requests_per_day, seen["requests"]),
        (limits.requests_in_all, seen["requests"]),
        (limits.tokens_per_day, seen["tokens"]),
        (limits.concurrency, seen["most"]),
    ):
        assert allowed is None or taken <= allowed
    if (
        limits.requests_per_day is not None
        and limits.tokens_per_day is limits.concurrency is limits.requests_in_all is None
    ):
        assert seen["requests"] == min(limits.requests_per_day, len(asked))
