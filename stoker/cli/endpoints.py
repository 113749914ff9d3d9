"""Prompts and chats answered by a model behind an API: nothing is loaded, several prompts are asked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from stoker.bench.endpoint import Endpoint, Refused
from stoker.errors import InvalidInput

if TYPE_CHECKING:
    from stoker.cli.prompts import Prompt
    from stoker.spec.jobs import EndpointRef, Sampling
    from stoker.workspace import Workspace

_AT_ONCE = 8


def sampling_body(sampling: Sampling) -> dict[str, Any]:
    """Return what a request says of how the answer is made; what is not asked for is left to the server."""
    body: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.temperature:
        body |= {"top_p": sampling.top_p, "seed": sampling.seed}
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


def answer_all(
    ref: EndpointRef, workspace: Workspace, asked: Sequence[Prompt], sampling: Sampling
) -> Iterator[dict[str, Any]]:
    """Yield the answers in the order asked."""
    endpoint = Endpoint(ref, workspace.root)
    executor = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ask")
    try:
        replies = [
            executor.submit(endpoint.chat, one.messages, sampling.max_new_tokens, **sampling_body(sampling))
            for one in asked
        ]
        for number, future in enumerate(replies, start=1):
            try:
                reply = future.result()
            except Refused as refusal:
                raise InvalidInput(f"prompt {number}: {refusal.what}", refusal.why, refusal.remedy) from None
            finish = "stop" if reply.is_finished else "length"
            yield {"text": reply.text, "finish": finish, "tokens_in": None, "tokens_out": reply.num_tokens}
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        endpoint.close()
