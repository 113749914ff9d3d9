"""What commands print: data on stdout as a table or JSON, notes on stderr. NO_COLOR and pipes are respected."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable fields.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def say(text: str = "") -> None:
    """Print data."""
    print(text)


def note(text: str) -> None:
    """Print progress or advice; it never mixes with data."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Print a value as JSON. NaN becomes null."""
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = ()) -> None:
    """Print rows below dim headers, or nothing; the columns named in `numbers` are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, justify="right" if header in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    stdout_console().print(table)


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print names and values in two columns; None is left out."""
    shown = [(name, value) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


def confirm(question: str, yes: bool) -> None:
    """Ask before something is lost; without a terminal `--yes` is the only way."""
    from stoker.errors import NotAllowed

    if yes:
        return
    if not sys.stdin.isatty():
        raise NotAllowed(f"{question} - not done", "nobody is there to ask", "add --yes to do it")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise NotAllowed("nothing was done", "the answer was no", "")


def stdout_console() -> Console:
    """Return a rich console on stdout; wide where it is a pipe, so that no row wraps."""
    return _console(sys.stdout)


def stderr_console() -> Console:
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    from rich.console import Console

    is_terminal = file.isatty()
    return Console(file=file, width=None if is_terminal else 400, highlight=False, soft_wrap=False)
