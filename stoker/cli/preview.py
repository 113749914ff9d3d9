"""`stoker data preview`: rows as they are trained, in a worker of their own that reads the tokenizer and no weights.

Trained tokens stand between brackets, so that they are told apart without colour too; line breaks are shown, and
nothing in a row can steer the terminal.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.checks import file_aside, open_dataset
from stoker.cli.console import note, print_json, say, stdout_console
from stoker.cli.lab import current_lab
from stoker.data.dataset import Dataset
from stoker.data.sample import Sampled, rows_of_lines, spread_rows
from stoker.data.visible import visible
from stoker.errors import InvalidInput, NotFound
from stoker.spec.jobs import DatasetRef, PreviewJob
from stoker.spec.reading import read_settings
from stoker.workspace import Workspace

if TYPE_CHECKING:
    from rich.text import Text

SHOWN_CHARACTERS = 2000
_TRAINED, _SPECIAL, _SIGN = "green", "dim cyan", "dim"


def preview(what: str, num_rows: int, lines: Sequence[int], as_json: bool) -> None:
    """Show rows of a dataset or of a file; NotFound for a line without a row, InvalidInput for a refused file."""
    workspace = current_lab()
    with _dataset_of(what) as dataset:
        opened = Dataset(dataset.folder)
        sampled = rows_of_lines(opened, lines) if lines else spread_rows(opened, num_rows)
        if not sampled:
            raise NotFound(f"{dataset.name} keeps no row", "every row of it is a duplicate or quarantined", "")
        note("loading the tokenizer ...")
        common, rows = _previewed(workspace, dataset, sampled)
    if as_json:
        print_json({"dataset": dataset.id, "file": dataset.name, **common, "rows": rows})
        return
    _print(dataset, common, rows)


@contextlib.contextmanager
def _dataset_of(what: str) -> Iterator[DatasetRef]:
    path = Path(what)
    if not path.exists():
        dataset = open_dataset(what)
        yield DatasetRef(id=dataset.folder.name, folder=dataset.folder, name=dataset.summary["name"])
        return
    with file_aside(path) as (summary, dataset_ref):
        if refusal := summary["refusal"]:
            raise InvalidInput(refusal["what"], refusal["why"] or "", refusal["remedy"] or "")
        yield dataset_ref


def _previewed(
    workspace: Workspace, dataset: DatasetRef, sampled: Sequence[Sampled]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what holds for all rows, and the rows."""
    from stoker.cli.task import run_task
    from stoker.registry.lines import base_ref

    spec = read_settings(workspace.settings)
    records = tuple(one.row.to_json() for one in sampled)
    job = PreviewJob(base=base_ref(workspace, spec.model), dataset=dataset, rows=records, train=spec.train)
    common: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for message in run_task(workspace, job):
        if message["kind"] == "result":
            common = {key: message[key] for key in ("base", "max_length", "is_provisional", "special_tokens")}
        elif message["kind"] == "row":
            rows.append(_row(message["row"], sampled[len(rows)].side))
    return common, rows


def _row(told: dict[str, Any], side: str) -> dict[str, Any]:
    """Return a row's record: line, text and counts first, `segments` joined are the text."""
    totals = {key: sum(one[key] for one in told["sequences"]) for key in ("num_tokens", "num_trained_tokens")}
    text = "".join(segment["text"] for segment in told["segments"])
    return {"line": told["line"], "row": told["row"], "state": side, "text": text, **totals, **told}


def _print(dataset: DatasetRef, common: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    opening, closing = _brackets()
    say(f"{dataset.name} as {common['base']} is trained on it; at most {units.count(common['max_length'])} tokens fit")
    if common["is_provisional"]:
        say("note  the tiny base is not made yet; this is the tokenizer it gets if this is the lab's first file")
    say(f"trained tokens stand between {opening} and {closing}; {_newline()} ends a line")
    special = re.compile("|".join(map(re.escape, sorted(common["special_tokens"], key=len, reverse=True))) or "(?!)")
    for row in rows:
        say()
        say(_heading(row))
        if row["problem"]:
            say(f"  not trained: {visible(row['problem'])}")
        for number, sequence in enumerate(row["sequences"]):
            if len(row["sequences"]) > 1:
                say(_subheading(number, sequence, row["sequences"]))
            segments = [one for one in row["segments"] if one["sequence"] == number]
            stdout_console().print(_marked(segments, special), soft_wrap=True)


def _heading(row: dict[str, Any]) -> str:
    words = [f"line {row['line']}", _state(row)]
    if len(row["sequences"]) == 1:
        words.append(_tokens(row))
    if row["num_tools"]:
        words.append("1 tool" if row["num_tools"] == 1 else f"{row['num_tools']} tools")
    if row["thinking"] is not None:
        words.append(f"thinking {'on' if row['thinking'] else 'off'}")
    return f"--- {' · '.join(words)} ---"


def _state(row: dict[str, Any]) -> str:
    side = "held out, never trained" if row["state"] == "held_out" else "trains"
    if row["kind"] == "preference":
        return f"preference pair, kept ({'held out' if row['state'] == 'held_out' else 'not trained yet'})"
    if row["kind"] == "kto":
        return f"labelled {'wanted' if row['label'] else 'unwanted'}, kept (not trained yet)"
    return side if row["problem"] is None else "left out"


def _subheading(number: int, sequence: dict[str, Any], all_of: list[dict[str, Any]]) -> str:
    return f"{sequence['part'] or f'sequence {number + 1} of {len(all_of)}'}: {_tokens(sequence)}"


def _tokens(counted: dict[str, Any]) -> str:
    num, trained = counted["num_tokens"], counted["num_trained_tokens"]
    return f"{units.count(num)} tokens, {units.count(trained)} trained ({trained / max(1, num):.0%})"


def _marked(segments: list[dict[str, Any]], special: re.Pattern[str]) -> Text:
    from rich.text import Text

    opening, closing = _brackets()
    whole = Text()
    for segment in segments:
        style = _TRAINED if segment["trained"] else ""
        if segment["trained"]:
            whole.append(opening, style=f"bold {_TRAINED}")
        _append(whole, _shortened(segment["text"]), style, special)
        if segment["trained"]:
            whole.append(closing, style=f"bold {_TRAINED}")
    return whole


def _append(whole: Text, text: str, style: str, special: re.Pattern[str]) -> None:
    """Add a text with its special tokens and line ends in styles of their own."""
    place = 0
    for match in special.finditer(text):
        _append_lines(whole, text[place : match.start()], style)
        whole.append(visible(match.group()), style=f"bold {style}" if style else _SPECIAL)
        place = match.end()
    _append_lines(whole, text[place:], style)


def _append_lines(whole: Text, text: str, style: str) -> None:
    *ended, last = text.split("\n")
    for line in ended:
        whole.append(visible(line), style=style or None)
        whole.append(_newline(), style=_SIGN)
        whole.append("\n")
    whole.append(visible(last), style=style or None)


def _shortened(text: str) -> str:
    hidden = len(text) - SHOWN_CHARACTERS
    if hidden <= 0:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[... {hidden:,} characters not shown here; --json has them ...]\n{text[-half:]}"


def _brackets() -> tuple[str, str]:
    return ("⟦", "⟧") if _can_print("⟦⟧") else ("[[", "]]")


def _newline() -> str:
    return "↵" if _can_print("↵") else "\\n"


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
