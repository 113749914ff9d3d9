"""`stoker data`: the datasets of the lab, row by row conserved."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from stoker.cli import units, versions
from stoker.cli.console import AsJson, Yes, note, print_facts, print_json, print_table, say
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.errors import NotAllowed, NotFound

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The datasets of the lab.")
app.command("versions")(versions.versions)
app.command("rollback")(versions.rollback)

DatasetId = Annotated[str, typer.Argument(metavar="ID", help="A dataset's id, a prefix of it, or @latest.")]

_SHOWN_DIFFERENCES = 20
_COUNTS = ("rows_in", "train", "held_out", "duplicate", "quarantined")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the datasets; rows in = train + held out + duplicate + quarantined."""
    datasets = open_reader().datasets()
    if as_json:
        print_json(datasets)
        return
    rows = [
        (found["id"], found["name"], _state(found), found["format"], *(units.count(found[key]) for key in _COUNTS))
        for found in datasets
    ]
    headers = ("rows in", "train", "held out", "duplicate", "quarantined")
    print_table(("id", "name", "state", "format", *headers), rows, numbers=headers)
    if not datasets:
        note("no data yet; copy a file into the inbox, or run: stoker add FILE")


def _state(found: dict[str, Any]) -> str:
    return str(found["state"]) if found["standing"] == "in-force" else f"{found['state']}, {found['standing']}"


@app.command()
def show(
    dataset: DatasetId,
    as_json: AsJson = False,
) -> None:
    """Show one dataset: where every row went and why, its score, and what its rows are like."""
    from stoker.cli.checks import place
    from stoker.cli.statistics import print_statistics, score_words, statistics_of

    reader = open_reader()
    found = reader.dataset_detail(reader.resolve("dataset", dataset))
    found |= statistics_of(reader.workspace.dataset(found["id"]))
    if as_json:
        print_json(found)
        return
    num_removed = len(found["removed_by_review"])
    removed = f"{units.count(num_removed)} by review; see: stoker data review {found['id']}" if num_removed else None
    sides = " + ".join(f"{units.count(found[key])} {key.replace('_', ' ')}" for key in _COUNTS[1:])
    print_facts(
        [
            ("dataset", found["id"]),
            ("file", f"{found['name']}, {units.size(found['bytes'])}"),
            ("state", found["state"]),
            ("format", found["format"]),
            ("rows", f"{units.count(found['rows_in'])} in = {sides}"),
            ("removed", removed),
            ("score", score_words(found)),
            ("refused", found["refusal"]),
            *versions.lineage_facts(found),
        ]
    )
    for line in found["notes"]:
        say(f"note  {line}")
    if found["reasons"]:
        say()
        print_table(
            ("reason", "rows"),
            [(code, units.count(number)) for code, number in sorted(found["reasons"].items())],
            numbers=("rows",),
        )
    late = [*found["removed_by_review"], *found["quarantined_in_training"]]
    left_out = [*({**row, "state": "quarantined"} for row in late), *found["ledger"]]
    if left_out:
        say()
        rows = [(place(row["line"], row.get("member", "")), row["state"], row["reason"]) for row in left_out[:20]]
        print_table(("line", "state", "why"), rows)
    print_statistics(found)


@app.command()
def preview(
    what: Annotated[
        str, typer.Argument(metavar="ID|FILE", help="A dataset's id, a prefix of it, or @latest; or a file.")
    ],
    rows: Annotated[int, typer.Option(min=1, help="How many rows, from the first to the last.")] = 3,
    line: Annotated[list[int] | None, typer.Option(help="The row that begins on this line; again for more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows as they will be trained: rendered through the base's chat template, the trained tokens marked."""
    from stoker.cli.preview import preview as show_rows

    show_rows(what, rows, line or [], as_json)


@app.command()
def report(
    what: Annotated[
        str, typer.Argument(metavar="ID|FILE", help="A dataset's id, a prefix of it, or @latest; or a file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Default: reports/data-NAME.html of the lab, or of the current folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a page about a dataset or a file: lengths, labels, duplicates, findings, score, examples. It needs no server."""
    from stoker.cli.report import write_report

    write_report(what, out, as_json)


@app.command()
def check(
    what: Annotated[
        str, typer.Argument(metavar="FILE|ID", help="A file, or a dataset's id, a prefix of it, or @latest.")
    ],
    as_json: AsJson = False,
) -> None:
    """Check a file without taking it, or show what was found in a dataset. Exit code 5 when something blocks."""
    from stoker.cli.checks import checked, print_check

    found = checked(what)
    if as_json:
        print_json(found)
    else:
        print_check(found)
    if any(finding["severity"] == "block" for finding in found["findings"]):
        raise typer.Exit(5)


@app.command()
def approve(
    dataset: Annotated[str, typer.Argument(metavar="ID", help="A waiting dataset's id, a prefix of it, or @latest.")],
) -> None:
    """Let a dataset that waits because of its score train as it is."""
    dataset_id = open_reader().resolve("dataset", dataset)
    ask_supervisor(current_lab(), "data.approve", dataset=dataset_id)
    note(f"{dataset_id} is queued")


class Recommended(enum.StrEnum):
    REMOVE = "remove"
    REVIEW = "review"


class Applied(enum.StrEnum):
    RECOMMENDED = "recommended"


Rows = Annotated[list[str] | None, typer.Option(metavar="LINES", help='Lines or row ids, as in "3,7-9".')]


@app.command()
def review(
    dataset: DatasetId,
    recommend: Annotated[Recommended | None, typer.Option(help="Only rows with this recommendation.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many rows to show; 0: all.")] = 20,
    keep: Rows = None,
    remove: Rows = None,
    apply: Annotated[Applied | None, typer.Option(help="Remove every row that is recommended for removal.")] = None,
    undo: Annotated[str | None, typer.Option(metavar="last|all|NUMBER", help="Take a decision back.")] = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be decided, and decide nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the rows that something speaks against, worst first; keep, remove or restore rows. The dataset never changes."""
    from stoker.cli import review as reviewing

    wish = reviewing.Wish(keep, remove, apply is not None, undo)
    if wish.is_given:
        reviewing.decide(dataset, wish, yes=yes, is_dry_run=dry_run, as_json=as_json)
    else:
        reviewing.show(dataset, recommend.value if recommend else None, limit, as_json=as_json)


class Target(enum.StrEnum):
    OPENAI = "openai"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    PROMPT_COMPLETION = "prompt-completion"
    CSV = "csv"
    PARQUET = "parquet"


class Side(enum.StrEnum):
    TRAIN = "train"
    HELD_OUT = "held_out"
    ALL = "all"


@app.command()
def convert(
    dataset: DatasetId,
    to: Annotated[Target, typer.Option(help="The format to write.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; it must not exist.")],
    side: Annotated[Side, typer.Option(help="Which rows.")] = Side.TRAIN,
    as_json: AsJson = False,
) -> None:
    """Write a dataset's rows in another format. A row that the format can't hold exactly is left out and counted."""
    from stoker.cli.checks import open_dataset
    from stoker.data.formats.write import write_rows

    if out.exists():
        raise NotAllowed(f"{out} exists", "nothing is overwritten", "name another file, or delete it")
    if not out.absolute().parent.is_dir():
        raise NotFound(f"no folder {out.absolute().parent}", "", "make it first")
    written = write_rows(open_dataset(dataset).all_rows(side.value), to.value, out)
    if as_json:
        print_json({"file": str(out), "rows": written.rows, "left_out": dict(written.left_out)})
        return
    say(f"{out}: {units.count(written.rows)} rows")
    for reason, number in written.left_out.most_common():
        say(f"left out, as {to.value} does not hold it: {reason}, {units.count(number)} rows")


@app.command()
def diff(before: DatasetId, after: DatasetId, as_json: AsJson = False) -> None:
    """Compare two datasets row by row: added, removed, changed (the same prompt, another answer)."""
    from stoker.cli.checks import open_dataset
    from stoker.data.contents import contents
    from stoker.data.diff import diff_rows

    reader = open_reader()
    sides = [
        contents(one, versions.earlier_datasets(reader, one.folder.name)) for one in map(open_dataset, (before, after))
    ]
    found = diff_rows(*sides)
    if as_json:
        print_json(found)
        return
    say(", ".join(f"{units.count(len(rows))} {name}" for name, rows in found.items()))
    for name, rows in found.items():
        if rows:
            say()
            shown = [_difference(row) for row in rows[:_SHOWN_DIFFERENCES]]
            print_table((name, "line", "row"), shown, numbers=("line",))


def _difference(row: dict[str, Any]) -> tuple[str, str, str]:
    if "after" in row:
        words = f"{row['before']!r} -> {row['after']!r}"
        return row["id"], f"{row['line']} -> {row['new_line']}", words[:100]
    return row["id"], str(row["line"]), " ".join(row["excerpt"].split())[:100]


@app.command("map")
def map_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file with columns of its own.")],
    given: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD,...", help='Also TEMPLATE=FIELD, as in "{title}: {body}=prompt".'),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a file's columns mean; files with the same columns are read so from then on. Without --map: a proposal."""
    from stoker.cli.mapping import map_columns

    map_columns(file, given or [], as_json)
