"""`stoker run series`: any series of a run or of the machine, at a wanted number of points."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli import units
from stoker.cli.console import AsJson, note, print_json, print_table, say
from stoker.cli.lab import open_reader
from stoker.errors import UsageError

LEAST_POINTS = 10


def series(
    run: Annotated[
        str, typer.Argument(metavar="ID", help='A run\'s id, a prefix of it, @latest or "machine".')
    ] = "@latest",
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which series; default: all.")] = None,
    points: Annotated[int, typer.Option(help="At most so many points of each, at least 10; 0: every point.")] = 2000,
    first: Annotated[
        int | None,
        typer.Option("--from", metavar="STEP", help="From this step (of the machine: second since the epoch)."),
    ] = None,
    last: Annotated[int | None, typer.Option("--to", metavar="STEP", help="To this step.")] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print lines of series,at,value.")] = False,
) -> None:
    """Print what was measured: a summary of each series, or its points with --csv or --json.

    A long series is drawn with fewer points that keep its peaks; a value that was not finite is empty (in JSON null).
    """
    _check(points, first, last, as_json=as_json, as_csv=as_csv)
    reader = open_reader()
    of = run if run == "machine" else reader.resolve("run", run)
    found = reader.series(of, names or (), points=points, first=first, last=last)
    if as_json:
        print_json({"series": of, "names": found})
        return
    if as_csv:
        say("series,at,value")
        for name, one in found.items():
            for at, value in zip(one["at"], one["value"], strict=True):
                say(f"{name},{at},{'' if value is None else repr(value)}")
        return
    rows = []
    for name, one in found.items():
        values = [value for value in one["value"] if value is not None]
        ends = [units.number(pick(values)) if values else None for pick in (min, max, lambda seen: seen[-1])]
        rows.append((name, one["num_points"], *ends, units.sparkline(values, 30)))
    print_table(
        ("name", "points", "lowest", "highest", "last", ""), rows, numbers=("points", "lowest", "highest", "last")
    )
    if not found:
        note(f"nothing was measured of {of} yet")


def _check(points: int, first: int | None, last: int | None, *, as_json: bool, as_csv: bool) -> None:
    if points != 0 and points < LEAST_POINTS:
        rule = f"a curve needs at least {LEAST_POINTS} points; 0 means every point"
        raise UsageError(f"--points {points} is too few", rule, "for example: --points 200")
    if first is not None and last is not None and first > last:
        raise UsageError(f"--from {first} is after --to {last}", "the range is empty", "swap them")
    if as_json and as_csv:
        raise UsageError("--json and --csv", "one of them is printed", "leave one out")
