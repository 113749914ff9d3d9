"""What `stoker data review` shows and asks: the rows that something speaks against, and what a person decides about them.

Looking needs no supervisor; deciding does, since it changes what trains.
"""

from __future__ import annotations

import textwrap
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stoker.cli import units
from stoker.cli.checks import open_dataset
from stoker.cli.console import confirm, note, print_json, print_table, say
from stoker.cli.lab import ask_supervisor, current_lab, open_reader
from stoker.errors import NotFound, UsageError

if TYPE_CHECKING:
    from stoker.data.dataset import Dataset
    from stoker.data.quality.decisions import Decided
    from stoker.data.quality.review import Review, Reviewed

_WIDTH = 110
_SHOWN_ROWS = 20


@dataclass(frozen=True)
class Wish:
    """What a person asks for; exactly one of them."""

    keep: list[str] | None
    remove: list[str] | None
    is_recommended: bool
    undo: str | None

    @property
    def is_given(self) -> bool:
        given = [bool(self.keep), bool(self.remove), self.is_recommended, self.undo is not None]
        if sum(given) > 1:
            raise UsageError(
                "one decision at a time", "--keep, --remove, --apply and --undo exclude each other", "give one of them"
            )  # fmt: skip
        return any(given)


def show(reference: str, recommended: str | None, limit: int, *, as_json: bool) -> None:
    """Print the rows that no one has decided about yet, worst first, and the decisions so far."""
    from stoker.data.quality.review import add_excerpts

    dataset = open_dataset(reference)
    review, decided = _review(dataset), _decided(dataset)
    standing = decided.standing()
    waiting = [row for row in review.rows if row.id not in standing and row.judged.recommendation != "keep"]
    counts: Counter[str] = Counter(row.judged.recommendation for row in waiting)
    listed = [row for row in waiting if recommended in (None, row.judged.recommendation)]
    shown = listed[:limit] if limit else listed
    add_excerpts(dataset, shown)
    if as_json:
        print_json(_as_json(dataset, review, decided, counts, shown))
        return
    _print_head(dataset, review, counts, Counter(standing.values()))
    for row in shown:
        _print_row(row)
    if len(shown) < len(listed):
        say()
        say(f"{units.count(len(listed) - len(shown))} more: --limit 0 shows all")
    _print_decisions(decided)
    if counts["remove"]:
        note(
            f"remove what you agree with: stoker data review {dataset.folder.name} --remove LINES, or --apply recommended"
        )


def decide(reference: str, wish: Wish, *, yes: bool, is_dry_run: bool, as_json: bool) -> None:
    """Record a decision through the supervisor; with `is_dry_run` only say which rows it would concern."""
    dataset = open_dataset(reference)
    fields, rows = _wanted(dataset, wish)
    if is_dry_run:
        _print_dry(dataset, fields, rows, as_json=as_json)
        return
    if not rows:
        note("no row is concerned: nothing was decided")
        return
    if wish.is_recommended:
        confirm(f"remove {units.count(len(rows))} rows of {dataset.summary['name']} from later training?", yes)
    workspace, token = current_lab(), uuid.uuid4().hex
    reply = ask_supervisor(workspace, "data.review", dataset=dataset.folder.name, token=token, **fields)
    if as_json:
        print_json(reply)
        return
    if reply.get("is_pending"):
        note("the supervisor is busy; it carries this out as soon as it can")
        return
    _tell(dataset, fields["verb"], reply)


def _review(dataset: Dataset) -> Review:
    from stoker.data.quality.review import review_dataset
    from stoker.mailbox.row_losses import read_visits
    from stoker.spec.reading import read_settings

    workspace = current_lab()
    runs = [read_visits(workspace.run(run["id"]), dataset.folder.name) for run in open_reader().runs()]
    return review_dataset(dataset, read_settings(workspace.settings).check, [run for run in runs if len(run.row)])


def _decided(dataset: Dataset) -> Decided:
    from stoker.data.quality.decisions import read_decided

    return read_decided(current_lab().review(dataset.folder.name))


def _wanted(dataset: Dataset, wish: Wish) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the intent's fields and the rows concerned with their lines."""
    from stoker.data.quality.choice import choose_rows, split_words

    if wish.undo is not None:
        numbers = _numbers(_decided(dataset), wish.undo)
        rows = {
            row: line for one in _decided(dataset).decisions if one.number in numbers for row, line in one.rows.items()
        }
        return {"verb": "undo", "numbers": numbers}, rows
    if wish.is_recommended:
        standing = _decided(dataset).standing()
        found = [row for row in _review(dataset).rows if row.judged.recommendation == "remove"]
        rows = {row.id: row.line for row in found if row.id not in standing}
        return {"verb": "remove", "rows": list(rows)}, rows
    words = split_words(wish.keep or wish.remove or [])
    return {"verb": "keep" if wish.keep else "remove", "rows": words}, choose_rows(dataset, words)


def _numbers(decided: Decided, wanted: str) -> list[int]:
    standing = [one.number for one in decided.decisions if not one.is_undone]
    if wanted == "all":
        return standing
    if wanted == "last":
        return standing[-1:]
    if not wanted.isdecimal():
        raise UsageError(f"--undo {wanted!r} is no decision", "", "say last, all, or a decision's number")
    if int(wanted) not in [one.number for one in decided.decisions]:
        raise NotFound(f"no decision {wanted}", f"there are {len(decided.decisions)}", "see: stoker data review ID")
    return [number for number in standing if number == int(wanted)]


def _print_head(dataset: Dataset, review: Review, counts: Counter[str], standing: Counter[str]) -> None:
    num_keep = review.num_rows - counts["remove"] - counts["review"]
    say(
        f"{dataset.folder.name}  {dataset.summary['name']}: {units.count(review.num_rows)} rows looked at: "
        f"{units.count(counts['remove'])} remove, {units.count(counts['review'])} review, {units.count(num_keep)} keep"
    )
    if standing:
        decided = ", ".join(f"{units.count(number)} {'removed' if verb == 'remove' else 'kept'}" for verb, number in standing.items())  # fmt: skip
        say(f"decided by a person: {decided}")
    what = "labels" if review.is_labelled else "answers"
    losses = f"losses in training of {units.count(review.num_with_losses)} rows" if review.num_with_losses else "no losses: not trained yet"  # fmt: skip
    say(f"looked at: {what}, neighbours, findings; {losses}")
    for text in review.notes:
        say(f"note  {text}")


def _print_row(row: Reviewed) -> None:
    say()
    say(f"line {row.line}  {row.judged.recommendation}  {row.judged.score:.2f}  {row.id}")
    words = [("asks", row.prompt), ("answers", row.answer)]
    for label, text in [*words, *(("because", signal.reason) for signal in row.judged.signals)]:
        one_line = " ".join(text.split())
        if one_line:
            one_line = one_line if label == "because" else textwrap.shorten(one_line, _WIDTH - 11, placeholder=" ...")
            say(textwrap.fill(one_line, _WIDTH, initial_indent=f"  {label:<9}", subsequent_indent=" " * 11))


def _print_decisions(decided: Decided) -> None:
    if decided.decisions:
        say()
        rows = [
            (one.number, "undone" if one.is_undone else one.verb, units.count(len(one.rows)), _lines(one.rows), _time(one.time))
            for one in decided.decisions
        ]  # fmt: skip
        print_table(("decision", "what", "rows", "lines", "when"), rows, numbers=("decision", "rows"))


def _lines(rows: dict[str, int]) -> str:
    lines = sorted(rows.values())
    return ", ".join(map(str, lines[:8])) + (", ..." if len(lines) > 8 else "")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _print_dry(dataset: Dataset, fields: dict[str, Any], rows: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        listed = [{"row": row, "line": line} for row, line in rows.items()]
        print_json({"dataset": dataset.folder.name, "verb": fields["verb"], "rows": listed, "is_dry_run": True})
        return
    say(
        f"{fields['verb']}: {units.count(len(rows))} rows of {dataset.summary['name']}; nothing is changed by a dry run"
    )
    if rows:
        lines = sorted(rows.values())
        say("lines " + ", ".join(map(str, lines[:_SHOWN_ROWS])) + (", ..." if len(lines) > _SHOWN_ROWS else ""))


def _tell(dataset: Dataset, verb: str, reply: dict[str, Any]) -> None:
    note(reply["text"])
    if verb == "remove":
        if reply["trained_by"]:
            text = f"trained already: {', '.join(reply['trained_by'])} learned from them"
            if reply["continued_by"]:
                text += f", and {', '.join(reply['continued_by'])} went on from there"
            note(f"{text}; those stay as they are, and later runs leave the rows out of replay")
        if reply["under_way"]:
            note(f"{', '.join(reply['under_way'])} has started and keeps the job it began with")
        note(f"take it back with: stoker data review {dataset.folder.name} --undo {reply['number']}")


def _as_json(
    dataset: Dataset, review: Review, decided: Decided, counts: Counter[str], shown: list[Reviewed]
) -> dict[str, Any]:
    return {
        "dataset": dataset.folder.name,
        "name": dataset.summary["name"],
        "num_rows": review.num_rows,
        "num_with_losses": review.num_with_losses,
        "is_labelled": review.is_labelled,
        "remove": counts["remove"],
        "review": counts["review"],
        "notes": review.notes,
        "rows": [
            {
                "row": row.id, "line": row.line, "recommendation": row.judged.recommendation, "score": row.judged.score,
                "prompt": row.prompt, "answer": row.answer,
                "reasons": [{"signal": one.name, "strength": one.strength, "text": one.reason} for one in row.judged.signals],
            }
            for row in shown
        ],
        "decisions": [
            {
                "number": one.number, "decision": one.verb, "is_undone": one.is_undone, "time": one.time,
                "rows": [{"row": row, "line": line} for row, line in one.rows.items()],
            }
            for one in decided.decisions
        ],
    }  # fmt: skip
