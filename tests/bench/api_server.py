"""A small OpenAI-compatible server for tests: its answers follow from the prompt, and it can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


class ApiServer:
    """`answers` maps a path to what it returns (status, JSON or bytes); `asked` are the bodies that came, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.chat: Answer = lambda path, body: (200, chat_answer(_echo(body)))
        self.completions: Answer = lambda path, body: (200, completion(body))
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, {"data": [{"id": "parrot"}]})

            def do_POST(self) -> None:
                body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append((self.path, body, dict(self.headers.items())))
                if body.get("stream"):
                    self._stream()
                    return
                answer = server.chat if self.path.endswith("/chat/completions") else server.completions
                self._send(*answer(self.path, body))

            def _send(self, status: int, content: Any) -> None:
                data = content if isinstance(content, bytes) else orjson.dumps(content)
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self) -> None:
                self.send_response(200)
                self.end_headers()
                for piece in ("one", " two", " three"):
                    chunk = orjson.dumps({"choices": [{"delta": {"content": piece}}]})
                    self.wfile.write(b"data: " + chunk + b"\n\n")
                self.wfile.write(b"data: [DONE]\n\n")

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def num_answered(self) -> int:
        return sum(not body.get("stream") for _, body, _ in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def chat_answer(text: str, finish: str = "stop") -> dict[str, Any]:
    tokens = [{"token": text, "logprob": -0.5}, {"token": "", "logprob": -0.1}]
    message = {"role": "assistant", "content": text}
    choice = {"message": message, "finish_reason": finish, "logprobs": {"content": tokens}}
    return {"choices": [choice], "usage": {"completion_tokens": 2}}


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """Continue with " parrot"; with echo each character is a token, the likelier the earlier in the alphabet."""
    prompt = body["prompt"]
    if not body.get("echo"):
        return {"choices": [{"text": " parrot\nand more"}]}
    tokens = [*prompt, "!"]
    values = [None, *(-ord(char) / 100 for char in tokens[1:])]
    told = {"tokens": tokens, "token_logprobs": values, "text_offset": list(range(len(tokens)))}
    return {"choices": [{"text": prompt + "!", "logprobs": told}]}


def _echo(body: dict[str, Any]) -> str:
    """Say the last word of the last message."""
    return str(body["messages"][-1]["content"]).split()[-1].strip("?")
