"""Benchmarks asked of an OpenAI-compatible server: what is sent, kept, counted, and every way it can fail."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any

import orjson
import pytest
from api_server import ApiServer, chat_answer, completion

from stoker.bench.endpoint import Endpoint, EndpointError, Refused, resolve_key
from stoker.bench.endpoint_run import bench_endpoint
from stoker.errors import InvalidInput
from stoker.mailbox.benches import BenchResult, read_benches, read_items
from stoker.spec.jobs import BenchJob, BenchModel, BenchSettings, EndpointRef


def ref(server: ApiServer, **fields: str) -> EndpointRef:
    return EndpointRef(**{"label": f"{server.url}#parrot", "url": server.url, "model": "parrot", **fields})


def make_job(
    folder: Path, server: ApiServer, num: int = 12, header: str = 'scorer = "exact"\n', **fields: Any
) -> BenchJob:
    path = folder / "words.jsonl"
    records = [
        {"id": f"w{n}", "prompt": f"Say the word w{n}", "answer": f"w{n if n % 3 else 'x'}", "category": f"c{n % 2}",
         "meta": {"choices": ["aa", "zz"]}}
        for n in range(num)
    ]  # fmt: skip
    if "likelihood" in header:
        records = [{**record, "answer": "zz"} for record in records]
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    path.with_suffix(".toml").write_text(header)
    model = BenchModel(source="endpoint", endpoint=ref(server))
    given = {"models": (model,), "benchmarks": (path,), "answers": folder / "answers", "output": folder / "benches",
             "root": folder, **fields}  # fmt: skip
    return BenchJob(**given)


def bench(job: BenchJob) -> list[tuple[str, str, bool]]:
    return list(bench_endpoint(job, job.models[0], lambda name, done, total: None))


def result_of(job: BenchJob) -> BenchResult:
    (found,) = read_benches(job.output)
    return found


def test_answers_are_scored_and_told_with_confidence_speed_and_categories(server: ApiServer, tmp_path: Path) -> None:
    job = make_job(tmp_path, server)
    ((name, key, is_kept),) = bench(job)
    result = result_of(job)
    assert (name, is_kept, result.key, result.source) == ("words", False, key, "endpoint")
    assert (result.n, result.scores["exact"]) == (12, pytest.approx(8 / 12))
    assert result.low is not None and result.high is not None and result.low < 8 / 12 < result.high
    assert {category: found["n"] for category, found in result.by_category.items()} == {"c0": 6, "c1": 6}
    assert result.tokens_out == 24 and result.first_token_seconds is not None and result.tokens_per_second is not None
    item = read_items(job.output / key)[1]
    assert (item.answer, item.finished, item.scores) == ("w1", True, {"exact": 1.0})
    assert item.confidence == pytest.approx(math.exp(-0.3))


def test_the_request_is_greedy_chat_with_system_and_examples(server: ApiServer, tmp_path: Path) -> None:
    job = make_job(tmp_path, server, header='system = "Be brief."\n', settings=BenchSettings(shots=1, max_new_tokens=7))
    bench(job)
    path, body, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("parrot", 7, 0)
    assert [set(turn) for turn in body["messages"]] == [{"role", "content"}] * 4
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "user"]


def test_what_was_answered_is_not_asked_again(server: ApiServer, tmp_path: Path) -> None:
    job = make_job(tmp_path, server)
    bench(job)
    assert server.num_answered == 12
    assert [is_kept for _, _, is_kept in bench(job)] == [True] and server.num_answered == 12
    other = job.model_copy(update={"settings": BenchSettings(limit=5)})
    bench(other)
    assert server.num_answered == 12, "the answers of single questions are shared between results"
    bench(job.model_copy(update={"again": True}))
    assert server.num_answered == 24


def test_a_bench_that_broke_off_goes_on_where_it_was(server: ApiServer, tmp_path: Path) -> None:
    job = make_job(tmp_path, server)
    whole = server.chat

    def fail_at_w7(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        return (403, {"error": "no more"}) if body["messages"][-1]["content"].endswith("w7") else whole(path, body)

    server.chat = fail_at_w7
    with pytest.raises(EndpointError, match="403: no more"):
        bench(job)
    assert not read_benches(job.output)
    answered = sum(line.count(b'"kind":"answer"') for line in next(job.answers.iterdir()).read_bytes().splitlines())
    before, server.chat = server.num_answered, whole
    bench(job)
    assert answered >= 1 and server.num_answered == before + 12 - answered and result_of(job).n == 12


def test_a_prompt_that_is_refused_is_left_out_and_told(server: ApiServer, tmp_path: Path) -> None:
    whole = server.chat
    long = {"error": {"message": "maximum context length is 8 tokens"}}
    server.chat = lambda path, body: (
        (400, long) if body["messages"][-1]["content"].endswith("w3") else whole(path, body)
    )
    job = make_job(tmp_path, server)
    bench(job)
    ((reason, num),) = result_of(job).left_out.items()
    assert num == 1 and reason.startswith("refused by the endpoint: ") and "maximum context length" in reason


def test_a_server_without_logprobs_is_asked_without(server: ApiServer, tmp_path: Path) -> None:
    def no_logprobs(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if "logprobs" in body:
            return 400, {"error": {"message": "logprobs is not supported"}}
        answer = chat_answer("w1")
        del answer["choices"][0]["logprobs"]
        return 200, answer

    server.chat = no_logprobs
    job = make_job(tmp_path, server)
    ((_, key, _),) = bench(job)
    assert [item.confidence for item in read_items(job.output / key)] == [None] * 12
    assert sum("logprobs" in body for _, body, _ in server.asked) < 10


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (401, {"error": {"message": "bad key sesame"}}, r"401: bad key \*\*\*; it asks for a key"),
        (404, {"error": {"message": "unknown"}}, "knows no 'parrot', or not this path; it has parrot"),
        (400, {"error": {"message": "no such field"}}, "refuses every question of words"),
        (200, b"<html>hello</html>", "answers no JSON .*<html>hello"),
        (200, {"choices": []}, "answers JSON without an answer"),
        (200, [1, 2], "answers JSON without an answer"),
    ],
)
def test_what_a_server_says_instead_of_answers_is_a_clear_error(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, content: Any, words: str
) -> None:
    monkeypatch.setenv("DOOR", "sesame")
    server.chat = lambda path, body: (status, content)
    model = BenchModel(source="endpoint", endpoint=ref(server, key="env:DOOR"))
    job = make_job(tmp_path, server, models=(model,))
    with pytest.raises(EndpointError, match=words) as caught:
        bench(job)
    assert "sesame" not in str(caught.value)
    assert not read_benches(job.output)


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path, server: ApiServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        model = BenchModel(source="endpoint", endpoint=EndpointRef(label=f"{url}#m", url=url, model="m"))
        with pytest.raises(EndpointError, match=f"{url} is not there"):
            bench(make_job(tmp_path, server, models=(model,)))


def test_what_may_pass_is_tried_again_as_long_as_the_server_says(server: ApiServer, tmp_path: Path) -> None:
    waits: list[float] = []
    statuses = iter([503, 500, 429])
    server.chat = lambda path, body: (next(statuses, 200), chat_answer("yes"))
    endpoint = Endpoint(ref(server), tmp_path, sleep=waits.append)
    assert endpoint.chat([{"role": "user", "content": "well?"}], 5).text == "yes"
    assert waits == [0.25, 0.5, 1.0]
    server.chat = lambda path, body: (500, {"error": "out of order"})
    with pytest.raises(EndpointError, match="500: out of order") as caught:
        endpoint.chat([{"role": "user", "content": "well?"}], 5)
    assert not isinstance(caught.value, Refused) and len(waits) == 7
    endpoint.close()


def test_options_are_chosen_by_their_likelihood(server: ApiServer, tmp_path: Path) -> None:
    job = make_job(tmp_path, server, header='scorer = "choice"\nmethod = "likelihood"\n')
    ((_, key, _),) = bench(job)
    item = read_items(job.output / key)[0]
    assert (item.choice, item.answer, item.scores) == ("aa", None, {"choice": 0.0})
    first, second = 2 * 0.97, 2 * 1.22
    assert item.confidence == pytest.approx(math.exp(-first) / (math.exp(-first) + math.exp(-second)))
    assert {path for path, _, _ in server.asked} == {"/v1/completions"}


@pytest.mark.parametrize("spoil", ["none", "not echoed", "refused"])
def test_a_server_that_tells_no_likelihood_is_named(server: ApiServer, tmp_path: Path, spoil: str) -> None:
    def spoilt(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        found = completion(body)
        if spoil == "none":
            del found["choices"][0]["logprobs"]
        elif spoil == "not echoed":
            found["choices"][0]["logprobs"] = {"tokens": ["!"], "token_logprobs": [-1.0], "text_offset": [0]}
        return (400, {"error": "echo is not supported"}) if spoil == "refused" else (200, found)

    server.completions = spoilt
    with pytest.raises(EndpointError, match=r'echo and logprobs .*set method = "generation"'):
        bench(make_job(tmp_path, server, header='scorer = "choice"\nmethod = "likelihood"\n'))


def test_a_benchmark_of_likelihood_alone_can_not_be_asked(server: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="its scorer 'nll' measures likelihood alone"):
        bench(make_job(tmp_path, server, header='scorer = "nll"\n'))


def test_a_key_is_read_from_the_environment_or_a_file_and_sent(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.txt").write_text("from-file\n")
    assert resolve_key("file:key.txt", tmp_path) == "from-file"
    assert resolve_key("env:DOOR", tmp_path, {"DOOR": " open "}) == "open"
    with pytest.raises(InvalidInput, match="DOOR is not set"):
        resolve_key("env:DOOR", tmp_path, {})
    with pytest.raises(InvalidInput, match=r"none\.txt can't be read"):
        resolve_key("file:none.txt", tmp_path)
    monkeypatch.setenv("DOOR", "sesame")
    endpoint = Endpoint(ref(server, key="env:DOOR"), tmp_path)
    endpoint.chat([{"role": "user", "content": "hello"}], 3)
    endpoint.close()
    assert server.asked[0][2].get("authorization", server.asked[0][2].get("Authorization")) == "Bearer sesame"
