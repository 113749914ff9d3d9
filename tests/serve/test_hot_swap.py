"""A promotion, a dead engine, a dead gateway: what clients notice of them, with real processes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import orjson
import psutil
import pytest
from served_lab import Gateway, ServedLab

CHAT = "/v1/chat/completions"


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "How many people live in Aru?"}]
    return {"model": "@champion", "messages": messages, "max_tokens": 30, "temperature": 0, **more}


def shown(gateway: Gateway) -> str:
    return str(gateway.client.get(f"{gateway.url}/v1/models").json()["data"][0]["root"])


class Clients:
    """Some clients that ask without a pause and keep what went wrong and what they got."""

    def __init__(self, gateway: Gateway, number: int = 4) -> None:
        self.gateway, self.failures, self.texts = gateway, [], set()  # type: ignore[var-annotated]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i % 2 == 0,)) for i in range(number)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, is_stream: bool) -> None:
        while not self._stop.is_set():
            answer = self.gateway.post(CHAT, body(stream=is_stream))
            if answer.status_code != 200 or (is_stream and "data: [DONE]" not in answer.text):
                self.failures.append((answer.status_code, answer.text))
            elif not is_stream:
                self.texts.add(answer.json()["choices"][0]["message"]["content"])


def test_a_promotion_swaps_the_engine_without_a_failed_request(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab(3)
    lab.settings(models=("@champion",))
    with lab.serving() as gateway, Clients(gateway) as clients:
        assert shown(gateway) == "main/v1"
        for number in (2, 3, 1):
            old = gateway.engines()
            lab.promote(number)
            gateway.until(lambda number=number: shown(gateway) == f"main/v{number}")
            gateway.until(lambda old=old: len(gateway.engines()) == 1 and gateway.engines() != old)
        gateway.until(lambda: len(clients.texts) == 3)  # each version answered
        assert not clients.failures


def test_an_engine_that_dies_is_started_again(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab()
    lab.settings(models=("@champion",), max_tokens=4000)
    with lab.serving() as gateway:
        lines = []
        long = body(max_tokens=3500, stream=True, temperature=1.9)
        with gateway.client.stream("POST", gateway.url + CHAT, content=orjson.dumps(long)) as stream:
            assert stream.status_code == 200
            for line in stream.iter_lines():
                lines.append(line)
                if len(lines) == 6:
                    os.kill(gateway.engines()[0][0], signal.SIGKILL)
        events = [orjson.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert events[-1]["error"]["code"] == "engine_failed"
        assert "data: [DONE]" not in lines
        answer = gateway.post(CHAT, body())  # waits for the new engine
        assert answer.status_code == 200, answer.text
        assert gateway.client.get(f"{gateway.url}/healthz").status_code == 200


def test_a_gateway_that_is_killed_leaves_no_engine(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab()
    lab.settings(models=("@champion",))
    with lab.serving() as gateway:
        engines = [psutil.Process(pid) for pid, _ in gateway.engines()]
        assert engines
        gateway.process.kill()
        gateway.process.wait()
        _, alive = psutil.wait_procs(engines, timeout=60)
        assert not alive


def test_a_lab_without_a_version_says_so_until_there_is_one(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab(0)
    lab.settings(models=("@champion",), start_seconds=240.0)
    with lab.serving(is_ready=False) as gateway:
        assert gateway.client.get(f"{gateway.url}/healthz").status_code == 200
        gateway.until(lambda: "champion" in str(gateway.client.get(f"{gateway.url}/readyz").json()["problems"]))
        assert gateway.client.get(f"{gateway.url}/readyz").status_code == 503
        answer = gateway.post(CHAT, body())
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "model_not_ready"
        lab.publish(1)
        lab.promote(1)
        gateway.wait(is_ready=True)
        assert gateway.post(CHAT, body()).status_code == 200


@pytest.mark.parametrize("num_waiting", [0, 3])
def test_more_than_may_wait_are_told_to_come_back(num_waiting: int, make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab()
    lab.settings(models=("@champion",), max_concurrent=1, max_waiting=num_waiting, max_tokens=4000)
    with lab.serving() as gateway:
        long = body(max_tokens=600, temperature=1.9, seed=1)
        answers: list[Any] = []
        threads = [threading.Thread(target=lambda: answers.append(gateway.post(CHAT, long))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(answers) - len(refused) >= 1 + num_waiting
        assert refused, "all were let in"
        assert all(answer.json()["error"]["code"] == "rate_limit_exceeded" for answer in refused)
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
