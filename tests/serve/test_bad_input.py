"""Whatever is sent, the answer is an error in OpenAI's form with the right status, and the server stays up."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from served_lab import Gateway

from stoker.serve.routes import MAX_BODY_BYTES

CHAT, TEXT, PLAIN = "/v1/chat/completions", "/v1/completions", "/generate"
USER = [{"role": "user", "content": "Hello"}]


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "@champion", "messages": USER, "max_tokens": 4, **more}


def text(**more: Any) -> dict[str, Any]:
    return {"model": "@champion", "prompt": "Hello", "max_tokens": 4, **more}


CASES: dict[str, tuple[str, Any, int, str | None]] = {
    "an unknown model": (CHAT, chat(model="nobody"), 404, "model_not_found"),
    "no model": (CHAT, {"messages": USER}, 400, "invalid_value"),
    "a model that is a number": (TEXT, text(model=3), 400, "invalid_value"),
    "a prompt longer than the context": (TEXT, text(prompt="a b c d " * 5000), 400, "context_length_exceeded"),
    "a chat longer than the context": (
        CHAT, chat(messages=[{"role": "user", "content": "1 2 3 " * 5000}]), 400, "context_length_exceeded",
    ),
    "a stop that is a number": (CHAT, chat(stop=3), 400, "invalid_value"),
    "a stop that is empty": (TEXT, text(stop=[""]), 400, "invalid_value"),
    "too many stops": (TEXT, text(stop=["x"] * 17), 400, "invalid_value"),
    "no tokens asked for": (CHAT, chat(max_tokens=0), 400, "invalid_value"),
    "ten million tokens": (CHAT, chat(max_tokens=10_000_000), 400, "invalid_value"),
    "the other name of the limit": (CHAT, chat(max_completion_tokens=0), 400, "invalid_value"),
    "max_tokens true": (TEXT, text(max_tokens=True), 400, "invalid_value"),
    "no JSON": (CHAT, b"{'model'", 400, None),
    "an empty body": (CHAT, b"", 400, None),
    "a list": (CHAT, b"[]", 400, None),
    "NaN": (CHAT, b'{"model":"@champion","messages":[],"temperature":NaN}', 400, None),
    "infinity by overflow": (CHAT, b'{"model":"@champion","messages":[],"temperature":1e999}', 400, None),
    "a lone surrogate": (CHAT, b'{"model":"\\ud800","messages":[]}', 400, None),
    "bytes that are not UTF-8": (CHAT, b'{"model":"\xff"}', 400, None),
    "endless nesting": (CHAT, b"[" * 100_000, 400, None),
    "a seed of 2^63": (CHAT, chat(seed=2**63), 400, "invalid_value"),
    "a token id of 2^63": (TEXT, text(prompt=[2**63]), 400, "invalid_value"),
    "a token id that there is not": (TEXT, text(prompt=[10**6]), 400, None),
    "a negative token id": (TEXT, text(prompt=[-1]), 400, "invalid_value"),
    "an empty prompt": (TEXT, text(prompt=""), 400, "invalid_value"),
    "no messages": (CHAT, chat(messages=[]), 400, "invalid_value"),
    "a message without a role": (CHAT, chat(messages=[{"content": "x"}]), 400, "invalid_value"),
    "a message without a content": (CHAT, chat(messages=[{"role": "user"}]), 400, "invalid_value"),
    "a picture": (
        CHAT, chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]), 400, "invalid_value",
    ),
    "a temperature below zero": (CHAT, chat(temperature=-1), 400, "invalid_value"),
    "a temperature that is text": (CHAT, chat(temperature="hot"), 400, "invalid_value"),
    "top_p above one": (CHAT, chat(top_p=1.5), 400, "invalid_value"),
    "n of 0": (CHAT, chat(n=0), 400, "invalid_value"),
    "a thousand choices": (TEXT, text(n=1000), 400, "invalid_value"),
    "top_logprobs without logprobs": (CHAT, chat(top_logprobs=3), 400, "invalid_value"),
    "too many logprobs": (TEXT, text(logprobs=21), 400, "invalid_value"),
    "stream that is text": (CHAT, chat(stream="yes"), 400, "invalid_value"),
    "stream options without a stream": (CHAT, chat(stream_options={"include_usage": True}), 400, "invalid_value"),
    "a forced call": (CHAT, chat(tool_choice="required"), 400, "invalid_value"),
    "a schema": (CHAT, chat(response_format={"type": "json_object"}), 400, "unsupported_parameter"),
    "a penalty": (CHAT, chat(presence_penalty=1.0), 400, "unsupported_parameter"),
    "an unheard-of parameter": (CHAT, chat(make_it_good=True), 400, "unsupported_parameter"),
    "echo": (TEXT, text(echo=True), 400, "invalid_value"),
    "generate without a prompt": (PLAIN, {"max_tokens": 4}, 400, "invalid_value"),
    "generate with a number": (PLAIN, {"prompt": 3}, 400, "invalid_value"),
    "a body over the limit": (CHAT, b'{"model":"' + b"x" * MAX_BODY_BYTES + b'"}', 413, "request_too_large"),
    "a path that there is not": ("/v1/embeddings", {}, 404, "not_found"),
    "a method that there is not": ("/v1/models", {}, 405, "not_found"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_bad_input_is_refused_in_openais_form(case: str, gateway: Gateway) -> None:
    path, body, status, code = CASES[case]
    answer = gateway.post(path, body)
    assert answer.status_code == status, answer.text
    error = orjson.loads(answer.content)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert code is None or error["code"] == code, error
    assert gateway.client.get(f"{gateway.url}/healthz").json() == {"status": "ok"}


def test_after_all_of_it_the_models_still_answer(gateway: Gateway) -> None:
    for model in ("@champion", "main/v2"):
        answer = gateway.post(CHAT, chat(model=model))
        assert answer.status_code == 200, answer.text


def test_harmless_parameters_change_nothing(gateway: Gateway) -> None:
    plain = gateway.post(CHAT, chat(temperature=0)).json()
    more = {"user": "u", "presence_penalty": 0, "response_format": {"type": "text"}, "logit_bias": None, "n": 1}
    assert gateway.post(CHAT, chat(temperature=0, **more)).json()["choices"] == plain["choices"]


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}], ids=["host", "origin"]
)
def test_a_page_of_another_site_gets_nothing(headers: dict[str, str], gateway: Gateway) -> None:
    answer = gateway.post(CHAT, chat(), headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "forbidden_host"


def test_a_body_without_a_length_is_limited_too(gateway: Gateway) -> None:
    def endless() -> Any:
        for _ in range(MAX_BODY_BYTES // (1 << 20) + 2):
            yield b" " * (1 << 20)

    answer = gateway.client.post(gateway.url + CHAT, content=endless())
    assert answer.status_code == 413
