"""Writes docs/reference from the code itself: `python -m stoker.cli.reference docs/reference`. A test keeps it current."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stoker.cli.app import build
from stoker.cli.reference_findings import finding_pages
from stoker.spec.schema import list_settings, section_title

_GENERATED = "<!-- Written by `make docs` from the code; change the code, not this page. -->\n"

_EXIT_CODES = """
## Exit codes

| code | meaning |
|---|---|
| 0 | ok |
| 1 | failed |
| 2 | the command's words are off |
| 3 | not found |
| 4 | not allowed |
| 5 | a setting, row or file breaks a rule |
| 6 | a run or task failed |
| 7 | no supervisor is running |
| 130 | interrupted |

Data goes to stdout, progress and advice to stderr. Ids accept unique prefixes and `@latest`. `NO_COLOR` is respected.
`STOKER_LAB` names the lab as `--lab` does; `STOKER_DEBUG=1` shows tracebacks.
"""


@functools.cache
def pages() -> dict[str, str]:
    """Return path (below docs/reference) and text of every generated page."""
    found = {"commands.md": commands_page(), "settings.md": settings_page(), **finding_pages()}
    return {name: text.replace("\n\n", f"\n\n{_GENERATED}\n", 1) for name, text in found.items()}


def commands_page() -> str:
    """Return the page of every command with its arguments and options."""
    root = build()
    parts = ["# Commands\n"]
    parts.append("Options of `stoker` itself:\n")
    parts.append(_parameters(root))
    for path, command in _walk(root, "stoker"):
        usage = " ".join([path, *(_usage(parameter) for parameter in command.params if parameter.name != "help")])
        parts += [f"## {path}\n", f"{(command.help or '').strip()}\n", f"```\n{usage}\n```\n", _parameters(command)]
    return "\n".join(part for part in parts if part).rstrip() + "\n" + _EXIT_CODES


def settings_page() -> str:
    """Return the page of every key of stoker.toml."""
    parts = ["# Settings\n"]
    parts.append(
        "`stoker.toml` is sparse: a key that is not in it has its default. `stoker config show` prints what is in force,\n"
        "`stoker config set KEY VALUE` changes a key and keeps the comments. An unknown key is an error at any depth.\n"
    )
    section = ""
    for setting in list_settings():
        if setting.key.partition(".")[0] != section:
            section = setting.key.partition(".")[0]
            title = section_title(section)
            parts += [f"\n## [{section}]\n", f"{title[:1].upper()}{title[1:]}\n"]
            parts += ["| key | default | type and range | what it does |", "|---|---|---|---|"]
        cells = (f"`{setting.key}`", f"`{setting.default_toml}`", setting.rule, setting.description)
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(parts) + "\n"


def _walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        here = f"{path} {name}"
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield here, command
        if hasattr(command, "commands"):
            yield from _walk(command, here)


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = str(parameter.metavar or parameter.name).upper().strip("[].")
        many = "..." if parameter.nargs == -1 else ""
        return f"{name}{many}" if parameter.required else f"[{name}{many}]"
    value = "" if parameter.is_flag else f" {_value_name(parameter)}"
    return f"{parameter.opts[0]}{value}" if parameter.required else f"[{parameter.opts[0]}{value}]"


def _value_name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).upper()


def _parameters(command: Any) -> str:
    lines = []
    for parameter in command.params:
        if parameter.name in ("help", "install_completion", "show_completion"):
            continue
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        if parameter.param_type_name == "argument":
            names = f"`{str(parameter.metavar or parameter.name).upper()}`"
        default = parameter.default
        shown = f" Default: `{default}`." if _is_worth_showing(default) else ""
        lines.append(f"- {names}: {(parameter.help or '').rstrip('.')}.{shown}")
    return "\n".join(lines) + "\n" if lines else ""


def _is_worth_showing(default: Any) -> bool:
    return isinstance(default, int | float | str) and default is not False and default != ""


def main() -> None:
    folder = Path(sys.argv[1])
    for old in folder.glob("findings/*.md"):
        old.unlink()
    for name, text in pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
