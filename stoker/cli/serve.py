"""`stoker serve`: who may use the inference API, what was asked, and what can be learned from it."""

from __future__ import annotations

import typer

from stoker.cli.serving_keys import key_app
from stoker.cli.serving_links import link_app
from stoker.cli.serving_log import log
from stoker.cli.serving_proposals import propose

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The inference API: keys, links, requests, feedback."
)
app.add_typer(key_app, name="key")
app.add_typer(link_app, name="link")
app.command("log")(log)
app.command("propose")(propose)
