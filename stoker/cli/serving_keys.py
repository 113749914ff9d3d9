"""`stoker serve key`: keys of the inference API, made, listed and revoked; a running server follows within a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table, say
from stoker.cli.durations import seconds
from stoker.cli.lab import current_lab, open_reader

if TYPE_CHECKING:
    from stoker.serve.keyring import Keyring
    from stoker.serve.keys import Kind

key_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys of the inference API.")

Concurrency = Annotated[
    int | None, typer.Option(min=1, help="Requests that may run at once; default: any number.", show_default=False)
]
_TOKEN_HELP = "Tokens a day (UTC) of prompts and answers together; default: any number."
TokensPerDay = Annotated[int | None, typer.Option(min=1, help=_TOKEN_HELP, show_default=False)]


@key_app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is called in lists and the log.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="generate, feedback or models, again for more; default: all.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL", help="A version, or a model with all its versions; again for more; default: all.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="It ends after this, as in 30d or 12h; default: never.")] = "",
    requests_per_day: Annotated[
        int | None, typer.Option(min=1, help="Requests a day (UTC); default: any number.", show_default=False)
    ] = None,
    tokens_per_day: TokensPerDay = None,
    concurrency: Concurrency = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a key and print it, once: only its hash is kept. From the first key on, requests need one."""
    from stoker.serve.keyring import SCOPES, Limits

    lifetime = seconds("--expires", expires) if expires else None
    models = [served_name(one) for one in model] if model else None
    limits = Limits(requests_per_day=requests_per_day, tokens_per_day=tokens_per_day, concurrency=concurrency)
    made, text = keyring().add("key", name, scopes=scope or SCOPES, models=models, seconds=lifetime, limits=limits)
    if as_json:
        print_json({**_fields(made.to_json(time.time())), "key": text})
        return
    say(text)
    note(f"{made.id}: keep it now, it is not shown again; send it as: Authorization: Bearer {text[:12]}...")
    if lifetime is not None:
        note(f"it ends in {units.duration(lifetime)}")


@key_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List keys with what they may do, and what they used today."""
    found = [_fields(one) for one in passes_with_use("key")]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["id"], one["name"], state(one), _scopes(one), ", ".join(one["models"] or ("all",)),
         of(one["requests_today"], one["requests_per_day"]), of(one["tokens_today"], one["tokens_per_day"]),
         units.count(one["concurrency"]))
        for one in found
    ]  # fmt: skip
    numbers = ("requests today", "tokens today", "at once")
    print_table(("id", "name", "state", "scopes", "models", *numbers), rows, numbers=numbers)
    if not found:
        note("no keys; on loopback none is needed until the first is made: stoker serve key new NAME")


@key_app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key's id, its name, or the key itself.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key; a running server refuses it within a second."""
    revoked = keyring().revoke("key", key)
    if as_json:
        print_json(_fields(revoked.to_json(time.time())))
        return
    note(f"{revoked.id} ({revoked.name}) is revoked")


def keyring() -> Keyring:
    """Return the keys and links of the current lab."""
    from stoker.serve.keyring import Keyring

    return Keyring(current_lab().serving)


def served_name(word: str) -> str:
    """Return the name under which requests ask for the model that a person means; NotFound when there is none."""
    from pathlib import Path

    from stoker.spec.reading import read_settings

    reader = open_reader()
    served = read_settings(reader.workspace.settings).serve.models
    if word in served or word in ("base", "@champion") or ("/" in word and Path(word).is_dir()):
        return word
    model, version = reader.resolve_version(word)
    return model if word == model else f"{model}/v{version}"


def passes_with_use(kind: Kind) -> list[dict[str, Any]]:
    """Return keys or links with what each used."""
    from stoker.serve.log_queries import usage
    from stoker.serve.quotas import day

    now = time.time()
    used = usage(current_lab().serving, day(now))
    nothing = dict.fromkeys(("requests", "tokens", "requests_today", "tokens_today", "refused_today"), 0)
    return [{**one.to_json(now), **used.get(one.id, nothing)} for one in keyring().passes(kind)]


def state(one: dict[str, Any]) -> str:
    """Say whether it holds, and until when."""
    if one["state"] != "valid" or one["expires_at"] is None:
        return str(one["state"])
    left = one["expires_at"] - time.time()
    return f"{units.duration(left)} left" if left < 172_800 else f"until {units.date_time(one['expires_at'])[:10]}"


def _scopes(one: dict[str, Any]) -> str:
    from stoker.serve.keyring import SCOPES

    return "all" if len(one["scopes"]) == len(SCOPES) else ", ".join(one["scopes"])


def of(used: int, limit: int | None) -> str:
    return units.count(used) if limit is None else f"{units.count(used)} of {units.count(limit)}"


def _fields(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "requests_in_all"}
