"""`stoker serve`: the inference API."""

from __future__ import annotations

import typer

from stoker.cli.serving_gateway import serve

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True, callback=serve)
