"""`stoker config`: what the settings are, what they may be, and changing one."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.console import AsJson, note, print_json, print_table, say
from stoker.cli.lab import current_lab

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show and change the lab's settings.")


@app.command()
def show(
    key: Annotated[str, typer.Argument(help='One key or section, as in "train.epochs"; default: all.')] = "",
    as_json: AsJson = False,
) -> None:
    """Show the settings in force, and where each comes from."""
    from stoker.errors import NotFound
    from stoker.spec.explain import nearest
    from stoker.spec.reading import check_settings, origin, read_toml
    from stoker.spec.schema import list_settings

    path = current_lab().settings
    data = read_toml(path)
    values = check_settings(data, path).model_dump(mode="json")
    chosen = [setting for setting in list_settings() if key in ("", setting.key, setting.key.partition(".")[0])]
    if not chosen:
        raise NotFound(f"{key} is not a setting", "", nearest(key))
    rows = []
    for setting in chosen:
        section, name = setting.key.split(".")
        rows.append((setting.key, values[section][name], origin(data, setting.key)))
    if as_json:
        print_json({name: {"value": value, "from": source} for name, value, source in rows})
    else:
        print_table(("key", "value", "from"), [(name, _toml(value), source) for name, value, source in rows])


@app.command("set")
def set_(
    key: Annotated[str, typer.Argument(help='The key, as in "train.epochs".')],
    value: Annotated[str, typer.Argument(help="The value; lists as a,b.")],
) -> None:
    """Change one setting; the file keeps its comments, and nothing wrong is written."""
    from stoker.spec.writing import set_value

    path = current_lab().settings
    spec = set_value(path, key, value)
    section, name = key.split(".")[:2]
    note(
        f"{section}.{name} = {_toml(spec.model_dump(mode='json')[section][name])} in {path}; jobs started from now on use it"
    )


@app.command()
def schema(as_json: AsJson = False) -> None:
    """List every key with its type, default, range and meaning."""
    from dataclasses import asdict

    from stoker.spec.schema import list_settings

    if as_json:
        print_json([asdict(setting) for setting in list_settings()])
        return
    section = ""
    for setting in list_settings():
        if setting.key.partition(".")[0] != section:
            section = setting.key.partition(".")[0]
            say(f"\n[{section}]")
        say(f"  {setting.key} = {setting.default_toml}")
        say(f"      {setting.description}")
        say(f"      {setting.rule}")


def _toml(value: object) -> str:
    import orjson

    return orjson.dumps(value).decode()
