"""Keys, links, quotas, the log and feedback through the real gateway, as clients and the command line see them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import openai
import orjson
import pytest
from served_lab import Gateway, ServedLab

from stoker.workspace import Workspace

ASK = {"messages": [{"role": "user", "content": "How many?"}], "max_tokens": 4, "temperature": 0}


def stoker(workspace: Workspace, *words: str) -> Any:
    command = [sys.executable, "-m", "stoker", "--lab", str(workspace.root), *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return orjson.loads(done.stdout)


def client(gateway: Gateway, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=60)


@pytest.mark.slow
def test_keys_links_log_and_feedback_of_a_served_lab(make_lab: Callable[..., ServedLab]) -> None:
    lab = make_lab()
    lab.settings(models=("@champion", "main/v2"), keep_prompts=True)
    workspace = lab.workspace
    key = stoker(workspace, "serve", "key", "new", "app", "--requests-per-day", "3", "--model", "main/v1")
    with lab.serving() as gateway:
        chat = client(gateway, key["key"]).chat.completions
        with pytest.raises(openai.AuthenticationError):
            client(gateway, "stk_none").chat.completions.create(model="@champion", **ASK)
        answer = chat.create(model="@champion", **ASK)  # the key is for main/v1, which the champion is
        assert answer.choices[0].logprobs is None
        with pytest.raises(openai.PermissionDeniedError):
            chat.create(model="main/v2", **ASK)
        assert [one.id for one in client(gateway, key["key"]).models.list()] == ["@champion"]
        chunks = list(chat.create(model="@champion", stream=True, **ASK))
        assert all(chunk.choices[0].delta.content or chunk.choices[0].finish_reason or index == 0
                   for index, chunk in enumerate(chunks))  # fmt: skip
        told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert told == answer.choices[0].message.content
        chat.create(model="@champion", **ASK)
        with pytest.raises(openai.RateLimitError) as refused:
            chat.create(model="@champion", **ASK)
        assert int(refused.value.response.headers["retry-after"]) > 0
        header = {"authorization": f"Bearer {key['key']}"}
        rating = {"request_id": answer.id, "rating": "up", "correction": "Seven."}
        assert gateway.client.post(f"{gateway.url}/v1/feedback", json=rating, headers=header).status_code in (200, 201)
        link = stoker(workspace, "serve", "link", "new", "main/v2", "--expires", "1h", "--requests", "1")
        share = f"{gateway.url}/share/{link['link'].rsplit('/', 1)[-1]}/v1/chat/completions"
        assert gateway.client.post(share, json={**ASK, "model": "main/v2"}).status_code == 200
        assert gateway.client.post(share, json={**ASK, "model": "main/v2"}).status_code == 429
        assert gateway.client.post(share, json={**ASK, "model": "@champion"}).status_code == 403
        stoker(workspace, "serve", "key", "revoke", "app")
        time.sleep(1.0)
        with pytest.raises(openai.AuthenticationError):
            chat.create(model="@champion", **ASK)
    log = stoker(workspace, "serve", "log")
    assert [one["status"] for one in log["requests"]].count(200) == 4
    sure = [one["confidence"] for one in log["requests"] if one["status"] == 200]
    assert all(value is not None and 0 < value < 1 for value in sure)
    proposed = stoker(workspace, "serve", "propose")
    assert [row["messages"][-1]["content"] for row in proposed["rows"]] == ["Seven."]
    assert list(workspace.inbox.iterdir()) == [], "nothing is trained that nobody handed over"
