"""POST /v1/feedback: about one's own requests, kept with their prompts, and nothing else."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest
from serving_door import Clock, Open, answered, ask
from starlette.applications import Starlette
from starlette.testclient import TestClient

from stoker.serve.access import OPEN, Access
from stoker.serve.feedback_routes import routes
from stoker.serve.keyring import Keyring

PROMPT = [{"role": "user", "content": "how many?"}]


def client(access: Access) -> TestClient:
    return TestClient(Starlette(routes=routes(access)))


def rated(serving: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(serving / "requests.db")
    rows = connection.execute("SELECT request, rating, comment, correction FROM feedback").fetchall()
    connection.close()
    return rows


def test_feedback_is_kept_and_the_newest_word_counts(door: Open, serving: Path) -> None:
    access = door(keep_prompts=True)
    id = answered(access, OPEN, prompt=PROMPT, answer="six")
    with client(access) as http:
        answer = http.post("/v1/feedback", json={"request_id": id, "rating": "up"})
        assert (answer.status_code, answer.json()) == (200, {"object": "feedback", "request_id": id, "rating": "up"})
        said = {"request_id": id, "rating": "down", "comment": "wrong", "correction": "seven"}
        assert http.post("/v1/feedback", json=said).status_code == 200
    assert rated(serving) == [(id, "down", "wrong", "seven")]


def test_only_ones_own_requests_can_be_rated(door: Open, keyring: Keyring, serving: Path) -> None:
    _, mine = keyring.add("key", "mine")
    _, theirs = keyring.add("key", "theirs")
    _, link = keyring.add("link", "for Ann", models=["main/v1"])
    access = door(keep_prompts=True)
    id = answered(access, ask(access, mine), prompt=PROMPT, answer="six")
    linked = answered(access, ask(access, link=link), prompt=PROMPT, answer="six")
    said = {"request_id": id, "rating": "up"}
    with client(access) as http:
        assert http.post("/v1/feedback", json=said).status_code == 401
        refused = http.post("/v1/feedback", json=said, headers={"Authorization": f"Bearer {theirs}"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "request_not_found")
        assert http.post(f"/share/{link}/v1/feedback", json=said).status_code == 404
        assert http.post("/v1/feedback", json=said, headers={"Authorization": f"Bearer {mine}"}).status_code == 200
        assert http.post(f"/share/{link}/v1/feedback", json={"request_id": linked, "rating": "down"}).status_code == 200
    assert {row[0] for row in rated(serving)} == {id, linked}


def test_a_key_without_the_scope_is_refused(door: Open, keyring: Keyring) -> None:
    _, text = keyring.add("key", "ci", scopes=["generate"])
    with client(door(keep_prompts=True)) as http:
        said = {"request_id": "req_1", "rating": "up"}
        assert http.post("/v1/feedback", json=said, headers={"Authorization": f"Bearer {text}"}).status_code == 403


def test_without_kept_prompts_feedback_names_the_setting(door: Open, serving: Path) -> None:
    access = door()
    id = answered(access, OPEN, prompt=PROMPT, answer="six")
    for server in (access, door(keep_prompts=True)):
        access.log.flush()
        with client(server) as http:
            answer = http.post("/v1/feedback", json={"request_id": id, "rating": "up"})
        assert answer.status_code == 409 and "keep_prompts = true in [serve]" in answer.json()["error"]["message"]
    assert rated(serving) == []


def test_feedback_goes_with_its_request(door: Open, serving: Path, clock: Clock) -> None:
    access = door(keep_prompts=True)
    id = answered(access, OPEN, prompt=PROMPT, answer="six")
    with client(access) as http:
        http.post("/v1/feedback", json={"request_id": id, "rating": "up"})
    access.close()
    clock.time += 31 * 86_400
    access = door(keep_prompts=True, log_days=30)
    answered(access, OPEN)
    access.close()
    assert rated(serving) == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"[" * 5000, 400, "no JSON"),
        (b"[1]", 400, "must be an object"),
        (b'{"request_id": NaN, "rating": "up"}', 400, "no JSON"),
        (b'{"request_id": 9223372036854775808, "rating": "up"}', 400, "request_id must be"),
        (b'{"request_id": "req_\\ud800", "rating": "up"}', 400, "no JSON"),
        (b'{"request_id": "", "rating": "up"}', 400, "request_id must be"),
        (b'{"rating": "up"}', 400, "request_id must be"),
        (b'{"request_id": "req_1", "rating": "good"}', 400, '"up" or "down"'),
        (b'{"request_id": "req_1", "rating": "up", "stars": 5}', 400, "unknown field 'stars'"),
        (b'{"request_id": "req_1", "rating": "up", "correction": " "}', 400, "not blank"),
        (b'{"request_id": "req_1", "rating": "up", "comment": 5}', 400, "not blank"),
        (orjson.dumps({"request_id": "req_1", "rating": "up", "comment": "x" * 4001}), 400, "4,001 characters"),
        (b" " * (2 << 20), 413, "bytes"),
        (b'{"request_id": "req_1", "rating": "up"}', 404, "no request of yours"),
    ],
)
def test_what_is_no_feedback_is_told_in_openais_form(door: Open, body: bytes, status: int, words: str) -> None:
    with client(door(keep_prompts=True)) as http:
        answer = http.post("/v1/feedback", content=body)
    assert answer.status_code == status and words in answer.json()["error"]["message"]
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_log_that_can_not_be_read_costs_feedback_and_not_the_server(door: Open, serving: Path) -> None:
    access = door(keep_prompts=True)
    id = answered(access, OPEN, prompt=PROMPT, answer="six")
    access.log.flush()
    kept = (serving / "requests.db").read_bytes()
    (serving / "requests.db").write_bytes(b"y" * len(kept))
    with client(access) as http:
        answer = http.post("/v1/feedback", json={"request_id": id, "rating": "up"})
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "not_kept"
        (serving / "requests.db").write_bytes(kept)
        assert http.post("/v1/feedback", json={"request_id": id, "rating": "up"}).status_code == 200
