"""`stoker serve` by itself: the gateway of the lab in the foreground; no supervisor needed."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.console import note
from stoker.cli.lab import current_lab


def serve(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one. Default: serve.port.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: serve.host.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help='What to serve: "@champion", main/v2, "base" or a folder; again for more. Default: serve.models.'
        ),
    ] = None,
) -> None:
    """Answer requests over HTTP, as OpenAI's API does, until Ctrl-C. With a command: keys, links, requests, feedback."""
    if context.invoked_subcommand is not None:
        return
    import logging

    from stoker.serve.gateway import run
    from stoker.spec.reading import read_settings
    from stoker.spec.serving import ServeSpec

    workspace = current_lab()
    spec = read_settings(workspace.settings)
    given = {"port": port, "host": host, "models": tuple(model) if model else None}
    chosen = {name: value for name, value in given.items() if value is not None}
    spec = spec.model_copy(update={"serve": ServeSpec.model_validate(spec.serve.model_dump() | chosen)})
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True)
    for library in ("httpx2", "uvicorn.error"):
        logging.getLogger(library).setLevel(logging.WARNING)
    note(f"serving lab {workspace.root}; Ctrl-C ends it")
    run(workspace, spec)
