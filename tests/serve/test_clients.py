"""openai's own client and curl, unchanged, against a real gateway with real engines."""

from __future__ import annotations

import shutil
import subprocess

import openai
import orjson
import pytest
from served_lab import Gateway, ServedLab

ASK = [{"role": "user", "content": "How many people live in Aru house number 3?"}]


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none needed", max_retries=0, timeout=120)


def test_the_models_are_listed_with_what_they_mean(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [one.id for one in listed] == ["@champion", "main/v2"]
    assert client.models.retrieve("main/v2").id == "main/v2"
    assert listed[0].model_dump()["root"] == "main/v1"


def test_a_chat_is_answered_and_counted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="@champion", messages=ASK, max_tokens=12, temperature=0)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None and 1 <= answer.usage.completion_tokens <= 12
    assert answer.id.startswith("req_")


def test_a_stream_is_the_whole_answer_in_pieces(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="@champion", messages=ASK, max_tokens=60, temperature=0)
    stream = client.chat.completions.create(
        model="@champion",
        messages=ASK,
        max_tokens=60,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason


def test_other_versions_answer_otherwise(client: openai.OpenAI) -> None:
    answers = {
        model: client.chat.completions.create(model=model, messages=ASK, max_tokens=40, temperature=0)
        .choices[0]
        .message.content
        for model in ("@champion", "main/v1", "main/v2")
    }
    assert answers["@champion"] == answers["main/v1"] != answers["main/v2"]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_an_answer_ends_before_a_stop_string(client: openai.OpenAI, is_stream: bool) -> None:
    def ask(**more: object) -> str:
        answer = client.completions.create(
            model="@champion", prompt="How many", max_tokens=80, temperature=0, stream=is_stream, **more
        )
        if not is_stream:
            return str(answer.choices[0].text)
        return "".join(chunk.choices[0].text for chunk in answer if chunk.choices)

    text = ask()
    starts = (text[at : at + 5] for at in range(6, len(text) - 5))
    stop = next(part for part in starts if "\ufffd" not in part)  # within tokens and over the edges of chunks
    assert ask(stop=[stop, "never comes"]) == text[: text.index(stop)]


def test_the_same_seed_draws_the_same_answer(client: openai.OpenAI) -> None:
    def ask(seed: int) -> str | None:
        answer = client.chat.completions.create(
            model="@champion", messages=ASK, max_tokens=20, temperature=1.5, seed=seed
        )
        return answer.choices[0].message.content

    assert ask(5) == ask(5) != ask(6)


def test_several_choices_are_drawn_apart(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="@champion", messages=ASK, max_tokens=20, temperature=1.5, seed=1, n=3
    )
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    stream = client.chat.completions.create(
        model="@champion", messages=ASK, max_tokens=20, temperature=1.5, seed=1, n=3, stream=True
    )
    texts = ["", "", ""]
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in answer.choices]


def test_logprobs_come_with_the_likeliest_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="@champion", messages=ASK, max_tokens=8, temperature=0, logprobs=True, top_logprobs=3
    )
    found = answer.choices[0].logprobs
    assert found is not None and found.content is not None and answer.usage is not None
    assert len(found.content) == answer.usage.completion_tokens
    for one in found.content:
        assert len(one.top_logprobs) == 3 and one.logprob <= 0
        assert one.logprob == pytest.approx(max(top.logprob for top in one.top_logprobs))  # greedy: the likeliest
    plain = client.completions.create(model="@champion", prompt="How many", max_tokens=8, temperature=0, logprobs=2)
    assert plain.choices[0].logprobs is not None
    assert "".join(plain.choices[0].logprobs.tokens or []).startswith(plain.choices[0].text)


def test_several_prompts_and_token_ids_are_completed(client: openai.OpenAI) -> None:
    two = client.completions.create(model="@champion", prompt=["How many", "In Aru"], max_tokens=6, temperature=0)
    one = client.completions.create(model="@champion", prompt="In Aru", max_tokens=6, temperature=0)
    assert two.choices[1].text == one.choices[0].text
    ids = client.completions.create(model="@champion", prompt=[5, 6, 7], max_tokens=4, temperature=0)
    assert ids.usage is not None and ids.usage.prompt_tokens == 3


def test_an_unknown_model_is_the_clients_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-5", messages=ASK)
    assert refused.value.code == "model_not_found"


def test_a_json_schema_is_refused_by_an_engine_without_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="@champion",
            messages=ASK,
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        )
    assert refused.value.param == "response_format"


def test_curl_asks_and_streams(gateway: Gateway) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl on this machine")

    def run(path: str, body: object) -> str:
        command = [curl, "-sN", "--max-time", "120", gateway.url + path, "-H", "content-type: application/json"]
        done = subprocess.run([*command, "-d", orjson.dumps(body).decode()], capture_output=True, text=True, check=True)
        return done.stdout

    answer = orjson.loads(run("/generate", {"prompt": ASK[0]["content"], "max_tokens": 12}))
    assert answer["text"] and answer["usage"]["completion_tokens"] <= 12 and answer["model"] == "@champion"
    body = {"model": "@champion", "messages": ASK, "max_tokens": 12, "temperature": 0, "stream": True}
    lines = [line for line in run("/v1/chat/completions", body).split("\n\n") if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    pieces = [orjson.loads(line[6:])["choices"][0]["delta"].get("content") or "" for line in lines[:-1]]
    assert "".join(pieces) == answer["text"]


def test_generate_answers_as_the_command_line_does(served: tuple[ServedLab, Gateway]) -> None:
    import torch

    from stoker.model.device import Hardware
    from stoker.model.generation import stream
    from stoker.model.load import load_for_inference
    from stoker.model.tokenizing import encode_prompt
    from stoker.serve.references import References
    from stoker.spec.lab import ModelSpec

    lab, gateway = served
    ref = References(lab.workspace, ModelSpec(base="tiny")).target("@champion").ref
    assert ref is not None
    loaded = load_for_inference(ref, lab.base, Hardware(torch.device("cpu"), torch.float32, 1, "eager", False))
    for content in ("How many people live in Elsa house number 31?", "Hello", "And the year after? " * 20):
        ids = encode_prompt([{"role": "user", "content": content}], None, loaded.tokenizer)
        wanted = "".join(stream(loaded, ids, 60))
        answer = gateway.post("/generate", {"prompt": content, "max_tokens": 60}).json()
        assert answer["text"] == wanted
        assert answer["usage"]["prompt_tokens"] == len(ids)
