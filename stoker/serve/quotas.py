"""How much each pass may still use: requests and tokens a day, requests in all, requests at once.

One lock decides, so concurrent requests never get more than is allowed: an answer's longest length is set aside when
its request begins and becomes what it really took when it ends. A prompt's tokens are known only then, so the last request of a day
may go over by its own prompt. Days are those of UTC. It keeps nothing on disk: the request log does.
"""

from __future__ import annotations

import datetime
import math
import threading
from dataclasses import dataclass

from stoker.serve.errors import ApiError
from stoker.serve.keyring import Limits

_DAY_SECONDS = 86_400


@dataclass
class Use:
    """What was used on a day, or in all."""

    requests: int = 0
    tokens: int = 0

    def add(self, requests: int, tokens: int) -> None:
        self.requests += requests
        self.tokens += tokens


@dataclass
class _Running:
    requests: int = 0
    tokens: int = 0


class Quotas:
    """What every pass has used and has set aside. `mine` was let through here, `earlier` by others or before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine: dict[tuple[str, str], Use] = {}
        self._earlier: dict[tuple[str, str], Use] = {}
        self._running: dict[str, _Running] = {}

    def begin(self, id: str, limits: Limits, max_tokens: int, now: float) -> None:
        """Count a request and set its tokens aside, or raise ApiError 429 and count nothing."""
        with self._lock:
            today, in_all = self._used(id, day(now)), self._used(id, IN_ALL)
            running = self._running.setdefault(id, _Running())
            _check(limits, today, in_all, running, max_tokens, now)
            for period in (day(now), IN_ALL):
                self._mine.setdefault((id, period), Use()).add(1, 0)
            running.requests += 1
            running.tokens += max_tokens

    def end(self, id: str, max_tokens: int, tokens: int, now: float) -> None:
        """Give back what was set aside and count what was taken, on the day it ended."""
        with self._lock:
            running = self._running[id]
            running.requests -= 1
            running.tokens -= max_tokens
            for period in (day(now), IN_ALL):
                self._mine.setdefault((id, period), Use()).add(0, tokens)
            self._forget_before(day(now - 2 * _DAY_SECONDS))

    def know(self, id: str, period: str, requests: int, tokens: int) -> None:
        """Take up what others used in a day or in all; it never falls."""
        with self._lock:
            use = self._earlier.setdefault((id, period), Use())
            use.requests, use.tokens = max(use.requests, requests), max(use.tokens, tokens)

    def _used(self, id: str, period: str) -> Use:
        mine, earlier = (kept.get((id, period), Use()) for kept in (self._mine, self._earlier))
        return Use(mine.requests + earlier.requests, mine.tokens + earlier.tokens)

    def _forget_before(self, oldest: str) -> None:
        for kept in (self._mine, self._earlier):
            for key in [key for key in kept if key[1] != IN_ALL and key[1] < oldest]:
                del kept[key]


IN_ALL = "all"


def day(now: float) -> str:
    """Return the day of a moment, as 2026-11-21, in UTC."""
    return datetime.datetime.fromtimestamp(now, datetime.UTC).date().isoformat()


def _check(limits: Limits, today: Use, in_all: Use, running: _Running, max_tokens: int, now: float) -> None:
    if limits.requests_in_all is not None and in_all.requests >= limits.requests_in_all:
        raise _used_up(f"this link was good for {limits.requests_in_all:,} requests; all were made", None)
    if limits.requests_per_day is not None and today.requests >= limits.requests_per_day:
        raise _used_up(f"the {limits.requests_per_day:,} requests a day of this key are used up", _until_midnight(now))
    if limits.concurrency is not None and running.requests >= limits.concurrency:
        num = limits.concurrency
        words = "1 request" if num == 1 else f"{num:,} requests"
        raise _come_back(f"this key may have {words} running at once, and that many are; try again soon")
    if limits.tokens_per_day is None:
        return
    left = limits.tokens_per_day - today.tokens
    if max_tokens <= left - running.tokens:
        return
    if running.tokens and max_tokens <= left:
        raise _come_back(
            f"{left:,} tokens are left of this key's day, but running requests may need them; try again soon"
        )
    what = f"{max(left, 0):,} of the {limits.tokens_per_day:,} tokens a day of this key are left"
    if left > 0:
        raise _used_up(f"{what} and this request asks for up to {max_tokens:,}: lower max_tokens", _until_midnight(now))
    raise _used_up(what, _until_midnight(now))


def _until_midnight(now: float) -> int:
    return max(1, math.ceil(_DAY_SECONDS - now % _DAY_SECONDS))


def _used_up(message: str, seconds: int | None) -> ApiError:
    """Return a refusal that trying again at once does not help against; OpenAI's client reads x-should-retry."""
    headers = {"x-should-retry": "false"}
    if seconds is not None:
        message += "; the next day begins at midnight UTC"
        headers["Retry-After"] = str(seconds)
    return ApiError(429, message, type="insufficient_quota", code="insufficient_quota", headers=headers)


def _come_back(message: str) -> ApiError:
    return ApiError(429, message, type="requests", code="rate_limit_exceeded", headers={"Retry-After": "1"})
