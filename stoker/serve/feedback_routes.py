"""Routes by which people say what they think of an answer. TO BE REPLACED ON MERGE: there is none yet."""

from __future__ import annotations

from starlette.routing import Route

from stoker.serve.access import Access


def routes(access: Access) -> list[Route]:
    return []
