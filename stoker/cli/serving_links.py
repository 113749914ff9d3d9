"""`stoker serve link`: share links, each to one model, each with an end."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table, say
from stoker.cli.durations import seconds
from stoker.cli.lab import current_lab
from stoker.cli.serving_keys import Concurrency, TokensPerDay, keyring, of, passes_with_use, served_name, state

link_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Share links, each to one model.")


@link_app.command("new")
def new(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A version, or a model with all its versions.")],
    expires: Annotated[str, typer.Option(metavar="TIME", help="It ends after this, as in 7d or 12h.")] = "7d",
    requests: Annotated[
        int | None,
        typer.Option(min=1, help="Requests it is good for, in all; default: any number.", show_default=False),
    ] = None,
    tokens_per_day: TokensPerDay = None,
    concurrency: Concurrency = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What it is called in lists and the log; default: its id.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a link that lets whoever has it ask one model, without a key, until it ends or is revoked.

    It is printed once: only its hash is kept.
    """
    from stoker.serve.keyring import Limits

    lifetime = seconds("--expires", expires)
    model = served_name(model)
    limits = Limits(tokens_per_day=tokens_per_day, concurrency=concurrency, requests_in_all=requests)
    made, text = keyring().add("link", name or None, models=[model], seconds=lifetime, limits=limits)
    url = f"{_address()}/share/{text}/v1"
    if as_json:
        print_json({**_fields(made.to_json(time.time())), "link": text, "url": url})
        return
    say(url)
    note(f"{made.id} to {model} ends in {units.duration(lifetime)}; keep it now, it is not shown again")
    note("it is the base URL of any OpenAI client, with any text as its key")


@link_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List share links with what was asked through them."""
    found = [_fields(one) for one in passes_with_use("link")]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["name"], one["model"], state(one), of(one["requests"], one["requests_in_all"]),
         of(one["tokens_today"], one["tokens_per_day"]), units.count(one["concurrency"]))
        for one in found
    ]  # fmt: skip
    numbers = ("requests", "tokens today", "at once")
    print_table(("id", "name", "model", "state", *numbers), rows, numbers=numbers)
    if not found:
        note("no share links; make one with: stoker serve link new MODEL")


@link_app.command("revoke")
def revoke(
    link: Annotated[str, typer.Argument(metavar="LINK", help="A link's id, its name, or the link itself.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a share link; a running server refuses it within a second."""
    if "/share/" in link:
        link = link.partition("/share/")[2].partition("/")[0]
    revoked = keyring().revoke("link", link)
    if as_json:
        print_json(_fields(revoked.to_json(time.time())))
        return
    note(f"{revoked.id} ({revoked.name}) is revoked")


def _address() -> str:
    """Return where the server of the settings listens; what it chooses by itself is left to the reader."""
    from stoker.spec.reading import read_settings

    spec = read_settings(current_lab().settings).serve
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    return f"http://{host}:{spec.port or 'PORT'}"


def _fields(one: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in one.items() if name not in ("models", "requests_per_day", "scopes")}
    return {**shown, "model": (one["models"] or [None])[0]}
