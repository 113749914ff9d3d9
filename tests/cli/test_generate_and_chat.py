"""`stoker generate` and `stoker chat` on a tiny model from a folder, in workers of their own, and on an endpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from stoker.cli.init import create_lab
from stoker.data.rows import Row
from stoker.model.tiny import ensure_tiny
from stoker.workspace import Workspace

CONTEXT = 96


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that sees few tokens, in a folder."""
    folder = tmp_path_factory.mktemp("models") / "small"
    rows = [
        Row.from_content(n + 1, [{"role": "user", "content": f"place {n}"}, {"role": "assistant", "content": f"it is {n}"}])
        for n in range(40)
    ]  # fmt: skip
    ensure_tiny(folder, rows, 0)
    config = orjson.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(orjson.dumps({**config, "max_position_embeddings": CONTEXT}))
    return folder


@pytest.fixture(scope="module")
def quiet_lab(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return create_lab(tmp_path_factory.mktemp("talk") / "lab", base="tiny")


def stoker(lab: Workspace, *args: object, code: int = 0, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stoker", "--lab", str(lab.root), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, input=given, timeout=300)
    assert done.returncode == code, done.stderr
    return done


def test_many_prompts_are_answered_together_as_each_is_alone(quiet_lab: Workspace, model: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"id": 7, "prompt": "place 1"}, {"messages": [{"role": "user", "content": "place 22, and where else?"}]},
             {"prompt": "place 3", "system": "Be brief."}]  # fmt: skip
    prompts.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    out = tmp_path / "answers.jsonl"
    stoker(quiet_lab, "generate", "--model", model, "--file", prompts, "--out", out, "--max-tokens", 6)
    answers = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert [answer.get("id") for answer in answers] == [7, None, None]
    assert answers[1]["messages"] == lines[1]["messages"] and answers[2]["prompt"] == "place 3"
    assert all(set(answer) >= {"text", "finish", "tokens_in", "tokens_out"} for answer in answers)
    assert all(1 <= answer["tokens_out"] <= 6 for answer in answers)
    alone = stoker(quiet_lab, "generate", "--model", model, "--prompt", "place 1", "--max-tokens", 6)
    assert alone.stdout == answers[0]["text"] + "\n"
    again = stoker(quiet_lab, "generate", "--model", model, "--file", prompts, "--out", out, code=4)
    assert "nothing is overwritten" in again.stderr


def test_a_prompt_longer_than_the_context_is_named_before_any_is_answered(
    quiet_lab: Workspace, model: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("short\n\n" + "long " * 200 + "\n")
    done = stoker(quiet_lab, "generate", "--model", model, "--file", prompts, "--json", code=5)
    assert done.stdout == "" and f"the model sees {CONTEXT}" in done.stderr and "prompt 2 has" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--prompt", "  "], 5, "the prompt of --prompt is empty"),
        (["--prompt", "x", "--max-tokens", "0"], 2, "--max-tokens"),
        (["--prompt", "x", "--max-tokens", "10000000"], 2, "--max-tokens"),
        (["--prompt", "x", "--stop", ""], 2, "every answer would be empty"),
        (["--prompt", "x", "--file", "f"], 2, "leave one out"),
        (["--prompt", "\udcff"], 5, "not UTF-8"),
        (["--file", "none.jsonl"], 3, "there is no file"),
        (["--file", "bad.jsonl"], 5, "bad.jsonl, line 2 is not JSON"),
        (["--file", "keys.jsonl"], 5, "line 1 has no prompt (it has question)"),
        (["--file", "turns.jsonl"], 5, "the last message is the assistant's"),
        (["--file", "bytes.txt"], 5, "line 2 is not UTF-8"),
        (["--file", "empty.txt"], 5, "holds no prompt"),
        (["--prompt", "x", "--model", "nowhere/v9"], 3, "nowhere"),
    ],
)
def test_bad_input_is_a_clear_error(
    stoker: Any, lab: Workspace, args: list[str], code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in {
        "bad.jsonl": b'{"prompt": "a"}\n{"prompt": \n', "keys.jsonl": b'{"question": "a"}\n', "empty.txt": b"\n \n",
        "turns.jsonl": b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
        "bytes.txt": b"fine\n\xff\n",
    }.items():  # fmt: skip
        (lab.root / name).write_bytes(content)
    done = stoker("generate", *args)
    assert done.code == code, done.err
    assert words in done.err


def test_a_chat_keeps_its_history_and_takes_commands(quiet_lab: Workspace, model: Path, tmp_path: Path) -> None:
    saved, taken = tmp_path / "talk.jsonl", tmp_path / "taken.jsonl"
    taken.write_text("mine")
    said = [
        "/system Be brief.", "place 1", "place 2", "/undo", "//slash", f"/save {taken}", f"/save {saved}", "/dance",
        "/reset", f"/save {saved}", "/exit", "never asked",
    ]  # fmt: skip
    done = stoker(quiet_lab, "chat", "--model", model, "--max-tokens", 4, given="\n".join(said) + "\n")
    conversation = orjson.loads(saved.read_bytes())["messages"]
    assert [turn["role"] for turn in conversation] == ["system", "user", "assistant", "user", "assistant"]
    assert [turn["content"] for turn in conversation if turn["role"] != "assistant"] == [
        "Be brief.",
        "place 1",
        "/slash",
    ]
    answers = [turn["content"] for turn in conversation if turn["role"] == "assistant"]
    assert done.stdout.startswith(answers[0] + "\n") and done.stdout.endswith(answers[1] + "\n")
    assert taken.read_text() == "mine" and "is not overwritten" in done.stderr
    assert "no command /dance" in done.stderr and "nothing to save yet" in done.stderr
    assert not list(quiet_lab.tasks.iterdir())


def test_a_history_that_outgrows_the_context_is_cut_with_a_word_and_a_question_that_can_not_fit_is_taken_back(
    quiet_lab: Workspace, model: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "talk.jsonl"
    said = [*(f"place {n} and place {n + 1} and place {n + 2}" for n in range(6)), "long " * 300, f"/save {saved}"]
    done = stoker(quiet_lab, "chat", "--model", model, "--max-tokens", 4, given="\n".join(said) + "\n")
    assert f"the model sees {CONTEXT} tokens: the oldest 2 messages are not shown to it" in done.stderr
    assert "(the question has " in done.stderr and "The question was taken back" in done.stderr
    assert sum(turn["role"] == "user" for turn in orjson.loads(saved.read_bytes())["messages"]) == 6


def test_an_interrupt_ends_the_answer_and_not_the_chat_and_the_worker_goes_with_its_starter(
    quiet_lab: Workspace, model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "stoker", "--lab", str(quiet_lab.root), "chat", "--model", str(model),
               "--max-tokens", "60", "--temperature", "1", "--seed", "3"]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    chat = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert chat.stdin is not None and chat.stdout is not None and chat.stderr is not None
    chat.stdin.write("place 1\n")
    chat.stdin.flush()
    assert chat.stdout.read(1)
    chat.send_signal(signal.SIGINT)
    saved = tmp_path / "talk.jsonl"
    chat.stdin.write(f"place 2\n/save {saved}\n")
    chat.stdin.flush()
    deadline = time.monotonic() + 120
    while not saved.is_file() and time.monotonic() < deadline and chat.poll() is None:
        time.sleep(0.05)
    turns = orjson.loads(saved.read_bytes())["messages"]
    assert [turn["content"] for turn in turns if turn["role"] == "user"] == ["place 1", "place 2"]
    (worker,) = psutil.Process(chat.pid).children()
    chat.kill()
    for pipe in (chat.stdin, chat.stdout, chat.stderr):
        pipe.close()
    chat.wait()
    worker.wait(timeout=60)


class Server:
    """An endpoint that repeats the last message, piece by piece where asked; "no" is refused."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append(body)
                text = body["messages"][-1]["content"]
                if text == "no":
                    self._send(400, orjson.dumps({"error": {"message": "too long for me"}}))
                elif body.get("stream"):
                    pieces = [orjson.dumps({"choices": [{"delta": {"content": word}}]}) for word in (text, "!")]
                    self._send(200, b"".join(b"data: " + piece + b"\n\n" for piece in pieces) + b"data: [DONE]\n\n")
                else:
                    reply = {"message": {"role": "assistant", "content": f"{text}!"}, "finish_reason": "stop"}
                    self._send(200, orjson.dumps({"choices": [reply], "usage": {"completion_tokens": 2}}))

            def _send(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.model = f"http://127.0.0.1:{self._server.server_address[1]}/v1#parrot"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_an_endpoint_is_asked_with_every_setting(stoker: Any, lab: Workspace, server: Server) -> None:
    done = stoker(
        "generate", "--model", server.model, "--prompt", "a", "--prompt", "b", "--system", "s", "--temperature", "0.5",
        "--top-p", "0.9", "--top-k", "3", "--seed", "4", "--stop", "x", "--max-tokens", "9", "--json",
    )  # fmt: skip
    assert [answer["text"] for answer in done.json()["answers"]] == ["a!", "b!"]
    assert done.json()["model"] == server.model
    body = next(body for body in server.asked if body["messages"][-1]["content"] == "a")
    wanted = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 4,
        "stop": ["x"],
        "max_tokens": 9,
        "model": "parrot",
    }
    assert {name: body[name] for name in wanted} == wanted
    assert body["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    refused = stoker("generate", "--model", server.model, "--prompt", "no")
    assert refused.code == 5 and "prompt 1" in refused.err and "too long for me" in refused.err


def test_at_temperature_0_settings_of_the_draw_are_said_to_change_nothing(
    stoker: Any, lab: Workspace, server: Server
) -> None:
    done = stoker("generate", "--model", server.model, "--prompt", "a", "--top-p", "0.5")
    assert done.code == 0 and done.out == "a!\n" and "nothing is drawn" in done.err
    assert "top_p" not in server.asked[-1]


def test_a_chat_with_an_endpoint(quiet_lab: Workspace, server: Server) -> None:
    done = stoker(quiet_lab, "chat", "--model", server.model, "--system", "s", given="one\nno\ntwo\n")
    assert done.stdout == "one!\ntwo!\n"
    assert "too long for me" in done.stderr and "taken back" in done.stderr
    assert [turn["content"] for turn in server.asked[-1]["messages"]] == ["s", "one", "one!", "two"]


def test_the_basics_can_be_benched_on_any_model(stoker: Any, lab: Workspace, server: Server) -> None:
    (result,) = stoker(
        "eval", "bench", "--benchmark", "basics", "--model", server.model, "--limit", "12", "--json"
    ).json()
    assert (result["benchmark"], result["n"], result["scores"]["basics"]) == ("basics", 12, 0.0)
    assert {body["max_tokens"] for body in server.asked if not body.get("stream")} == {64}
    assert stoker("eval", "bench", "--list", "--json").json() == []
