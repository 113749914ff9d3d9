"""Answers in OpenAI's shapes: whole ones, and the chunks of a stream."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stoker.serve.engines.base import Part, TokenLogprob


@dataclass
class Told:
    """What has been told of one choice, or of all of them."""

    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, part: Part) -> None:
        self.text.append(part.text)
        self.logprobs += part.logprobs
        self.finish = part.finish or self.finish
        self.tokens_in = part.tokens_in if part.tokens_in is not None else self.tokens_in
        self.tokens_out = part.tokens_out if part.tokens_out is not None else self.tokens_out

    @property
    def confidence(self) -> float | None:
        """Return e to the mean log-probability of the tokens told, where the engine told those."""
        values = [one.value for one in self.logprobs]
        return math.exp(sum(values) / len(values)) if values else None


class Shape:
    """One endpoint's answers. `is_chat`: messages, else texts."""

    def __init__(self, answer_id: str, model: str, *, is_chat: bool, has_logprobs: bool) -> None:
        self._is_chat, self._has_logprobs = is_chat, has_logprobs
        self._head = {"id": answer_id, "created": int(time.time()), "model": model}

    def whole(self, told: Sequence[Told]) -> dict[str, Any]:
        """Return the answer of a request that is no stream."""
        choices = []
        for index, one in enumerate(told):
            text = "".join(one.text)
            content = {"message": {"role": "assistant", "content": text}} if self._is_chat else {"text": text}
            choices.append(self._choice(index, content, one.logprobs, one.finish))
        name = "chat.completion" if self._is_chat else "text_completion"
        return {**self._head, "object": name, "choices": choices, "usage": usage(told)}

    def opening(self, index: int) -> dict[str, Any] | None:
        """Return the chunk before a choice's first text, if there is one."""
        if not self._is_chat:
            return None
        return self._chunk([self._choice(index, {"delta": {"role": "assistant", "content": ""}}, (), None)])

    def chunk(self, index: int, part: Part) -> dict[str, Any] | None:
        """Return a part's chunk; None when it says nothing."""
        if not part.text and not part.finish and not (self._has_logprobs and part.logprobs):
            return None
        content: dict[str, Any] = {"text": part.text}
        if self._is_chat:
            content = {"delta": {"content": part.text} if part.text else {}}
        return self._chunk([self._choice(index, content, part.logprobs, part.finish)])

    def closing(self, told: Sequence[Told]) -> dict[str, Any]:
        """Return the chunk with the usage."""
        return self._chunk([]) | {"usage": usage(told)}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        name = "chat.completion.chunk" if self._is_chat else "text_completion"
        return {**self._head, "object": name, "choices": choices}

    def _choice(
        self, index: int, content: dict[str, Any], logprobs: Sequence[TokenLogprob], finish: str | None
    ) -> dict[str, Any]:
        found = None
        if self._has_logprobs and logprobs:
            found = _chat_logprobs(logprobs) if self._is_chat else _text_logprobs(logprobs)
        return {"index": index, **content, "logprobs": found, "finish_reason": finish}


def usage(told: Sequence[Told]) -> dict[str, int]:
    """Return the tokens read and made by all choices together."""
    tokens_in, tokens_out = sum(one.tokens_in for one in told), sum(one.tokens_out for one in told)
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def _chat_logprobs(found: Sequence[TokenLogprob]) -> dict[str, Any]:
    def entry(token: str, value: float) -> dict[str, Any]:
        return {"token": token, "logprob": value, "bytes": list(token.encode())}

    content = [
        entry(one.token, one.value) | {"top_logprobs": [entry(token, value) for token, value in one.top]}
        for one in found
    ]
    return {"content": content, "refusal": None}


def _text_logprobs(found: Sequence[TokenLogprob]) -> dict[str, Any]:
    offsets, at = [], 0
    for one in found:
        offsets.append(at)
        at += len(one.token)
    return {
        "tokens": [one.token for one in found],
        "token_logprobs": [one.value for one in found],
        "top_logprobs": [dict(one.top) for one in found],
        "text_offset": offsets,
    }
