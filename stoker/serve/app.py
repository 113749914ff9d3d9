"""The gateway as an application: routes, errors in OpenAI's form, and what a browser page of another site may not do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stoker.serve.access import Access
from stoker.serve.errors import ApiError
from stoker.serve.feedback_routes import routes as feedback_routes
from stoker.serve.models import Models
from stoker.serve.routes import Inference, as_json
from stoker.spec.serving import ServeSpec

log = logging.getLogger(__name__)

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
Lifespan = Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]


def build(models: Models, access: Access, spec: ServeSpec, *, is_loopback: bool, lifespan: Lifespan) -> ASGIApp:
    """Return the application."""
    app = Starlette(
        routes=[*Inference(models, access, spec).routes(), *feedback_routes(access)],
        exception_handlers={ApiError: _refused, HTTPException: _not_there, Exception: _broken},
        lifespan=lifespan,
    )
    return _LocalOnly(app) if is_loopback else app


class _LocalOnly:
    """On loopback no key may be needed, so a page that a browser shows must not reach the models by a name it made up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            host, origin = request.headers.get("host", ""), request.headers.get("origin")
            for given in (f"//{host}", origin or "//localhost"):
                if not _is_local(given):
                    refusal = ApiError(403, f"{given.strip('/')} is no name of this machine", code="forbidden_host")
                    await as_json(refusal.body(), refusal.status)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def _is_local(url: str) -> bool:
    try:
        return urlsplit(url).hostname in _LOCAL_NAMES
    except ValueError:
        return False


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return as_json(error.body(), error.status, error.headers)


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}", code="not_found")
    return as_json(found.body(), found.status, dict(error.headers or {}))


async def _broken(request: Request, error: Exception) -> Response:
    """A defect of ours: told in the log, and in the usual form to the client; the gateway goes on."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    found = ApiError(500, "the server failed; its log says more", type="server_error", code="internal_error")
    return as_json(found.body(), found.status)
