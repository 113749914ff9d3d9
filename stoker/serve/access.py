"""Who may ask what, how much of it, and that it was asked: keys, share links, quotas and the log, behind two calls.

`authorise` says who asks, `begin` counts the request and returns a ticket that must be ended whatever happens. Both
and the end only look into memory (and, a few times a second, at whether `keys.db` changed), so they may be called on an event loop.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.errors import StoreLost
from stoker.serve.errors import ApiError
from stoker.serve.keyring import SCOPES, Limits, Pass
from stoker.serve.keys import Kind, NotAKey, parse
from stoker.serve.keys_in_force import KeysInForce
from stoker.serve.log import GrantKind, Line, RequestLog
from stoker.serve.quotas import Quotas, day
from stoker.spec.serving import ServeSpec


@dataclass(frozen=True)
class Grant:
    """Who asks and what for. `models` None: all of them."""

    kind: GrantKind
    id: str | None
    models: frozenset[str] | None
    scopes: frozenset[str]

    def allows(self, model: str) -> bool:
        """Tell whether the model may be asked; a line's name stands for all its versions."""
        return self.models is None or model in self.models or model.rpartition("/")[0] in self.models


OPEN = Grant("open", None, None, frozenset(SCOPES))


class Ticket:
    """A request that began. `id` is also what the client gets as x-request-id."""

    def __init__(self, access: Access, grant: Grant, model: str, endpoint: str, max_tokens: int) -> None:
        self.id = f"req_{uuid.uuid4().hex[:24]}"
        self._access, self._grant = access, grant
        self._model, self._endpoint, self._max_tokens = model, endpoint, max_tokens
        self._lock = threading.Lock()
        self._is_ended = False

    def end(
        self,
        *,
        status: int,
        tokens_in: int,
        tokens_out: int,
        first_token_seconds: float | None,
        seconds: float,
        error: str | None = None,
        prompt: Any = None,
        answer: str | None = None,
        confidence: float | None = None,
    ) -> None:
        """Give back what was set aside, count what was used and log the request. Only the first call counts.

        `confidence`: e to the mean log-probability of the answer's tokens, where the engine tells it.
        """
        with self._lock:
            if self._is_ended:
                return
            self._is_ended = True
        is_kept = self._access.spec.keep_prompts
        line = Line(
            self.id, self._access.now(), self._grant.kind, self._grant.id, self._model, self._endpoint, status,
            tokens_in, tokens_out, first_token_seconds, seconds, error, confidence,
            prompt if is_kept else None, answer if is_kept else None,
        )  # fmt: skip
        self._access.ended(line, self._max_tokens)


class Access:
    """The door of the inference API. Raises StoreLost when its files are damaged, or keys are gone that were made."""

    def __init__(
        self, folder: Path, spec: ServeSpec, *, is_loopback: bool, now: Callable[[], float] = time.time
    ) -> None:
        self.folder, self.spec, self.now = folder, spec, now
        self._is_loopback = is_loopback
        self._keys = KeysInForce(folder)
        if spec.keys != "never":
            self._keys.has_keys()
        self._quotas = Quotas()
        self.log = RequestLog(folder, keep_days=spec.log_days, quotas=self._quotas, now=now)

    def authorise(
        self,
        authorization: str | None,
        *,
        scope: str,
        model: str | tuple[str, ...] | None = None,
        link: str | None = None,
    ) -> Grant:
        """Return who asks, by the Authorization header or a share link; ApiError 401 or 403 for who may not.

        A model that has several names, as "@champion" and "main/v3", may be asked by who may ask one of them.
        """
        try:
            if link is not None:
                return self._granted("link", link, scope, model)
            if not self._needs_key():
                return OPEN
            return self._granted("key", _bearer(authorization), scope, model)
        except StoreLost as error:
            raise ApiError(
                503, f"keys can't be read now: {error.what}; the server's own log says more", type="server_error",
                code="keys_unreadable",
            ) from error  # fmt: skip

    def begin(self, grant: Grant, *, model: str, endpoint: str, max_tokens: int) -> Ticket:
        """Count a request that may begin; ApiError 429 when a quota is used up. End the ticket whatever happens."""
        if grant.id is not None:
            now = self.now()
            try:
                self._quotas.begin(grant.id, self._limits(grant.id), max_tokens, now)
            except ApiError:
                self.log.use(grant.id, day(now), refused=1)
                raise
            self.log.use(grant.id, day(now), requests=1)
        return Ticket(self, grant, model, endpoint, max_tokens)

    def ended(self, line: Line, max_tokens: int) -> None:
        """Take up the end of a request; tickets call it."""
        if line.pass_id is not None:
            self._quotas.end(line.pass_id, max_tokens, line.tokens_in + line.tokens_out, line.time)
            self.log.use(line.pass_id, day(line.time), tokens_in=line.tokens_in, tokens_out=line.tokens_out)
        self.log.add(line)

    def close(self) -> None:
        """Write what is left of the log."""
        self.log.close()

    def _needs_key(self) -> bool:
        if self.spec.keys == "never":
            return False
        return self.spec.keys == "always" or not self._is_loopback or self._keys.has_keys()

    def _limits(self, id: str) -> Limits:
        try:
            found = self._keys.find(id)
        except StoreLost:
            found = None
        if found is None:
            raise _unauthorised("this key is not known any more")
        return found.limits

    def _granted(self, kind: Kind, text: str, scope: str, model: str | tuple[str, ...] | None) -> Grant:
        found = self._proven(kind, text)
        if scope not in found.scopes:
            scopes = ", ".join(sorted(found.scopes))
            raise _forbidden(f"{found.id} is for {scopes}; this needs {scope}", "scope_not_allowed")
        grant = Grant(kind, found.id, found.models, found.scopes)
        names = (model,) if isinstance(model, str) else model
        if names is not None and not any(grant.allows(name) for name in names):
            models = ", ".join(sorted(found.models or ()))
            raise _forbidden(f"{found.id} is for {models}, not for {names[0]!r}", "model_not_allowed", param="model")
        return grant

    def _proven(self, kind: Kind, text: str) -> Pass:
        thing = "key" if kind == "key" else "share link"
        try:
            parsed = parse(text)
        except NotAKey as error:
            raise _unauthorised(f"this {thing} can't be right: {error}") from None
        if parsed.kind != kind:
            other = (
                "a share link's; ask below /share/LINK/" if kind == "key" else "a key; send it as Authorization: Bearer"
            )
            raise _unauthorised(f"this is {other}")
        found = self._keys.find(parsed.id)
        if found is None or not found.is_proven_by(parsed.digest):
            raise _unauthorised(f"this {thing} is not known here; was it made in this lab?")
        state = found.state(self.now())
        if state != "valid":
            when = found.revoked_at if state == "revoked" else found.expires_at
            code = f"{state}_{'api_key' if kind == 'key' else 'share_link'}"
            verb = "was revoked" if state == "revoked" else "expired"
            raise _unauthorised(f"the {thing} {found.id} {verb} at {_moment(when or 0)}; ask for a new one", code)
        return found


def _bearer(authorization: str | None) -> str:
    if not authorization or not authorization.strip():
        raise _unauthorised(
            "this server needs a key: send the header Authorization: Bearer stk_...; one is made with: stoker serve key new NAME"
        )
    kind, _, text = authorization.strip().partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise _unauthorised("the Authorization header must be: Bearer stk_...")
    return text.strip()


def _moment(time_: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time_))


def _unauthorised(message: str, code: str = "invalid_api_key") -> ApiError:
    return ApiError(401, message, code=code, headers={"WWW-Authenticate": "Bearer"})


def _forbidden(message: str, code: str, *, param: str | None = None) -> ApiError:
    return ApiError(403, message, type="permission_error", code=code, param=param)
