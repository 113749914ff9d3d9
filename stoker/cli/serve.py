"""`stoker serve`: the inference API, who may use it, what was asked, and what can be learned from it."""

from __future__ import annotations

import typer

from stoker.cli.serving_gateway import serve
from stoker.cli.serving_keys import key_app
from stoker.cli.serving_links import link_app
from stoker.cli.serving_log import log
from stoker.cli.serving_proposals import propose

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True, callback=serve)
app.add_typer(key_app, name="key")
app.add_typer(link_app, name="link")
app.command("log")(log)
app.command("propose")(propose)
