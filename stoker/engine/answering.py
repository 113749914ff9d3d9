"""Requests answered together in a thread of their own: each joins when there is a place and leaves when it is done.

On a CPU transformers' own continuous batching made 0.6 to 0.7 of the tokens per core-second that plain batches of 16 make
(docs/serving.md); it also has no seed of a request's own and no other tokens' log-probabilities. So the batch is the
project's own over the model's forward (`rows`), the one step that `stoker.model.generation` takes too: greedy answers are
those of `stoker generate`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from stoker.engine.choosing import Chooser, Logprob, Sampling, choose, logprob_of
from stoker.engine.rows import rows_for
from stoker.engine.text import GrowingText
from stoker.model.decoding_attention import DECODING, register
from stoker.model.encoded import Ids
from stoker.model.load import Loaded
from stoker.model.logits import computing, evaluating
from stoker.model.tokenizing import stop_token_ids

log = logging.getLogger(__name__)

_PIECE_SECONDS = 0.02
# Prompts read together cost little more than one: those that come while others are answered wait for a few tokens, and where many
# ended together, the next ones, which come one by one, are waited for.
_TOKENS_BETWEEN_JOINS = 4
_GATHER_SECONDS = 0.03
_PAUSE_SECONDS = 0.004


@dataclass(frozen=True)
class Piece:
    """A stretch of an answer. `finish` is "stop" or "length" on the last one; `error` instead when there is no more."""

    text: str = ""
    logprobs: tuple[Logprob, ...] = ()
    num_tokens: int = 0
    finish: str | None = None
    error: str | None = None


@dataclass(eq=False)
class Asked:
    """A request. `tell` gets its pieces, in the answering thread; a text in pieces only when it `is_streamed`."""

    prompt: Ids
    max_tokens: int
    sampling: Sampling
    stops: tuple[str, ...]
    tell: Callable[[Piece], None]
    is_streamed: bool = True
    is_cancelled: bool = False


@dataclass(eq=False)
class _Running:
    asked: Asked
    chooser: Chooser
    text: GrowingText
    num_tokens: int = 0
    last_token: int = 0
    logprobs: list[Logprob] = field(default_factory=list)
    told_at: float = 0.0


class Answering:
    """The thread that answers with one model."""

    def __init__(self, loaded: Loaded, capacity: int) -> None:
        if loaded.hardware.device.type == "cpu":
            register()
            causal = loaded.model.get_base_model() if hasattr(loaded.model, "get_base_model") else loaded.model
            causal.set_attn_implementation(DECODING)
        self._loaded = loaded
        self._rows = rows_for(loaded, capacity)
        self._stop_ids = _stop_ids(loaded)
        self._waiting: deque[Asked] = deque()
        self._running: list[_Running] = []
        self._news = threading.Condition()
        self._is_over = False
        self._tokens_since_join = 0
        self._num_lately = 0
        self._thread = threading.Thread(target=self._run, name="answering", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self, asked: Asked) -> None:
        """Take a request; from any thread."""
        with self._news:
            self._waiting.append(asked)
            self._news.notify()

    def end(self) -> None:
        """Stop after the present token; what is running is told so."""
        with self._news:
            self._is_over = True
            self._news.notify()
        self._thread.join()

    @property
    def num_running(self) -> int:
        return len(self._running)

    def _run(self) -> None:
        loaded = self._loaded
        torch.set_num_threads(loaded.hardware.threads)  # OpenMP keeps the number for each thread
        with evaluating(loaded.model), torch.inference_mode(), computing(loaded.model, loaded.hardware):
            while self._wait():
                try:
                    self._advance()
                except Exception as error:  # the thread's boundary: whatever a request brought on, the next is answered
                    log.exception("the batch failed")
                    self._fail(f"{type(error).__name__}: {error}")
        self._fail("the engine ends")

    def _wait(self) -> bool:
        with self._news:
            while not (self._is_over or self._waiting or self._running):
                self._news.wait()
            return not self._is_over

    def _advance(self) -> None:
        self._let_go([row for row, one in enumerate(self._running) if one.asked.is_cancelled])
        joining = self._admitted()
        if joining:
            self._join(joining)
        elif self._running:
            self._tokens_since_join += 1
            self._take(self._rows.step([one.last_token for one in self._running]), 0)

    def _join(self, joining: list[_Running]) -> None:
        try:
            logits = self._rows.join([one.asked.prompt for one in joining])
        except Exception as error:  # a prompt too large for the memory must not end the answers under way
            log.exception("%d prompts can't be read", len(joining))
            for one in joining:
                one.asked.tell(Piece(error=f"{type(error).__name__}: {error}"))
            if self._rows.count != len(self._running):
                raise
            return
        self._num_lately = len(joining) + len(self._running)
        self._running += joining
        self._tokens_since_join = 0
        self._take(logits, len(self._running) - len(joining))

    def _admitted(self) -> list[_Running]:
        joining: list[_Running] = []
        with self._news:
            if not self._waiting or self._is_too_soon():
                return joining
            if not self._running:
                self._gather()
            while self._waiting and len(self._running) + len(joining) < self._rows.capacity:
                asked = self._waiting.popleft()
                if not asked.is_cancelled:
                    text = GrowingText(self._loaded.tokenizer, asked.stops)
                    joining.append(_Running(asked, Chooser(asked.sampling), text))
        return joining

    def _is_too_soon(self) -> bool:
        """Tell whether those who wait may wait for more: some are answered, and the last ones joined just now."""
        is_all = len(self._running) + len(self._waiting) >= self._rows.capacity
        return bool(self._running) and not is_all and self._tokens_since_join < _TOKENS_BETWEEN_JOINS

    def _gather(self) -> None:
        """Wait for as many requests as there were lately, as long as they keep coming."""
        deadline = time.monotonic() + _GATHER_SECONDS
        while not self._is_over and len(self._waiting) < min(self._num_lately, self._rows.capacity):
            left = deadline - time.monotonic()
            if left <= 0 or not self._news.wait(min(left, _PAUSE_SECONDS)):
                break

    def _take(self, logits: torch.Tensor, first: int) -> None:
        """Append a token to each answer from the row `first` on; end those that are done."""
        running = self._running[first:]
        tokens = choose(logits, [one.chooser for one in running])
        ended = []
        now = time.monotonic()
        for row, (one, token) in enumerate(zip(running, tokens, strict=True)):
            wanted = one.asked.sampling.num_logprobs
            if wanted is not None:
                one.logprobs.append(logprob_of(logits[row], token, wanted))
            if self._took(one, token, now):
                ended.append(first + row)
        self._let_go(ended)

    def _took(self, one: _Running, token: int, now: float) -> bool:
        """Append a token, tell what is due and say whether the answer is over."""
        one.num_tokens += 1
        one.last_token = token
        is_stop = token in self._stop_ids
        if not is_stop:
            one.text.add(token)
        is_last = is_stop or one.num_tokens >= one.asked.max_tokens
        is_due = one.asked.is_streamed and now - one.told_at >= _PIECE_SECONDS
        if is_last:
            one.text.finish()
        elif is_due or one.asked.stops:
            one.text.read()
        is_over = is_last or one.text.is_stopped
        if is_over:
            finish = "stop" if is_stop or one.text.is_stopped else "length"
            self._tell(one, one.text.take(is_over=True), finish)
        elif is_due:
            text = one.text.take()
            if text:
                one.told_at = now
                self._tell(one, text, None)
        return is_over

    def _tell(self, one: _Running, text: str, finish: str | None) -> None:
        logprobs, one.logprobs = tuple(one.logprobs), []
        one.asked.tell(Piece(text, logprobs, one.num_tokens, finish))

    def _let_go(self, rows: list[int]) -> None:
        for row in sorted(rows, reverse=True):
            self._rows.leave(row)
            last = self._running.pop()
            if row < len(self._running):
                self._running[row] = last

    def _fail(self, reason: str) -> None:
        """Tell everyone who is running or waiting that there is no answer."""
        failed = [one.asked for one in self._running]
        self._running = []
        self._rows = rows_for(self._loaded, self._rows.capacity)
        if self._is_over:
            with self._news:
                failed += self._waiting
                self._waiting.clear()
        for asked in failed:
            asked.tell(Piece(error=reason))


def _stop_ids(loaded: Loaded) -> frozenset[int]:
    """Return what generation stops at: the template's end of a turn, and what the model's own settings say."""
    causal = loaded.model.get_base_model() if hasattr(loaded.model, "get_base_model") else loaded.model
    own = getattr(causal.generation_config, "eos_token_id", None)
    more = own if isinstance(own, list) else [own] if own is not None else []
    return frozenset([*stop_token_ids(loaded.tokenizer), *more])
