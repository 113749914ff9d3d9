"""POST /v1/feedback, and the same below a share link."""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stoker.errors import StokerError
from stoker.serve.access import Access
from stoker.serve.errors import ApiError
from stoker.serve.feedback import MOST_BYTES, keep_feedback, read_feedback

log = logging.getLogger(__name__)


def routes(access: Access) -> list[Route]:
    """Return the routes of feedback."""

    async def post(request: Request) -> Response:
        try:
            grant = access.authorise(
                request.headers.get("authorization"), scope="feedback", link=request.path_params.get("link")
            )
            feedback = read_feedback(await _body(request))
            return JSONResponse(await run_in_threadpool(keep_feedback, access, grant, feedback))
        except ApiError as error:
            return JSONResponse(error.body(), error.status, headers=error.headers)
        except StokerError:
            log.exception("feedback was not kept")
            refusal = ApiError(503, "feedback can't be kept now", type="server_error", code="not_kept")
            return JSONResponse(refusal.body(), refusal.status)

    return [
        Route("/v1/feedback", post, methods=["POST"]),
        Route("/share/{link}/v1/feedback", post, methods=["POST"]),
    ]


async def _body(request: Request) -> bytes:
    """Read the body, no further than a byte past what is taken."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            break
    return b"".join(parts)
