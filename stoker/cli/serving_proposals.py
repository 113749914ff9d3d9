"""`stoker serve propose`: rated requests as a dataset, shown, written to a file or put into the inbox."""

from __future__ import annotations

import enum
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stoker.cli.console import AsJson, note, print_json, print_table
from stoker.cli.durations import moment
from stoker.cli.lab import current_lab, is_up
from stoker.data.visible import visible
from stoker.errors import NotAllowed, NotFound, UsageError

if TYPE_CHECKING:
    from stoker.serve.proposals import Candidate, Proposal
    from stoker.workspace import Workspace

_SHOWN = 20


class Only(enum.StrEnum):
    up = "up"
    down = "down"
    all = "all"


def propose(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Requests from then on, as 7d or 2026-11-20; default: all kept.")
    ] = "",
    only: Annotated[Only, typer.Option("--only", help="Ratings to go by.")] = Only.all,
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="At most so many rows, the most telling; default: all.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the rows here as JSONL.", show_default=False)
    ] = None,
    to_inbox: Annotated[
        str, typer.Option("--to-inbox", metavar="NAME", help="Put the rows into the inbox under this name: they will be trained.")
    ] = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Propose a dataset from rated requests: liked answers and corrections as rows, disliked answers to look at.

    Those that models answered differently come first, then those a model was least sure of. Nothing is trained by this
    alone: without --to-inbox it only shows or writes, and a file in the inbox goes through every check.
    """
    from stoker.serve.proposals import propose

    workspace = current_lab()
    _check(out, to_inbox)
    begins = moment("--since", since, time.time(), _zone(workspace)) if since else 0.0
    proposal = propose(workspace.serving, since=begins, only=only.value, most=most)
    if (out or to_inbox) and not proposal.rows:
        why = "rows come from answers that were rated up or corrected (POST /v1/feedback), with [serve] keep_prompts"
        raise NotFound("nothing to propose", why, "run: stoker serve propose")
    written = {"out": None, "review": None, "inbox": None} | _write(workspace, proposal, out, to_inbox)
    if as_json:
        print_json({**proposal.to_json(), "written": written})
        return
    _print(proposal)
    _tell(workspace, proposal, written)


def _check(out: Path | None, to_inbox: str) -> None:
    from stoker.serve.keyring import check_name

    if out is not None and to_inbox:
        raise UsageError("--out and --to-inbox exclude each other", "one looks first, the other hands over", "take one")
    if out is not None:
        for path in (out, _review_path(out)):
            if path.exists():
                raise NotAllowed(f"{path} exists", "nothing is written over", "choose another --out FILE")
        if not out.absolute().parent.is_dir():
            raise NotFound(f"no folder {out.absolute().parent}", "", "make it, or choose another --out FILE")
    if to_inbox:
        check_name(to_inbox)
        if "/" in to_inbox or to_inbox.startswith("."):
            raise UsageError(
                f"{to_inbox!r} is no file name", "the rows are called this in the lab", "write a plain name"
            )


def _write(workspace: Workspace, proposal: Proposal, out: Path | None, to_inbox: str) -> dict[str, str | None]:
    """Write what was asked for; return where it is."""
    from stoker.cli.add import copy_to_inbox
    from stoker.serve.proposals import write_rows

    rows = [one.row() for one in proposal.rows]
    if out is not None:
        write_rows(out, rows)
        if not proposal.review:
            return {"out": str(out)}
        write_rows(_review_path(out), [one.to_json() for one in proposal.review])
        return {"out": str(out), "review": str(_review_path(out))}
    if to_inbox:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / (to_inbox if to_inbox.endswith(".jsonl") else f"{to_inbox}.jsonl")
            write_rows(file, rows)
            return {"inbox": str(copy_to_inbox(workspace, file))}
    return {}


def _review_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.review.jsonl")


def _print(proposal: Proposal) -> None:
    for title, found in (("proposed", proposal.rows), ("to look at, never trained", proposal.review)):
        if not found:
            continue
        note(f"{title}: {len(found):,}" + (f", the first {_SHOWN}" if len(found) > _SHOWN else ""))
        rows = [_row(one) for one in found[:_SHOWN]]
        numbers = ("sure", "answers", "alike")
        print_table(("why", "model", *numbers, "prompt", "answer"), rows, numbers=numbers)
    for reason, num in sorted(proposal.left_out.items()):
        note(f"left out: {num:,}, {reason}")


def _row(one: Candidate) -> tuple[Any, ...]:
    sure = None if one.confidence is None else f"{100 * one.confidence:.0f} %"
    last = one.prompt[-1].get("content")
    asked = last if isinstance(last, str) else "(parts)"
    return (one.why, visible(one.model), sure, one.num_answers, one.num_alike, _brief(asked), _brief(one.answer))


def _brief(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= 28 else f"{line[:27]}…"


def _tell(workspace: Workspace, proposal: Proposal, written: dict[str, str | None]) -> None:
    if written["inbox"]:
        note(
            f"{written['inbox']}: {len(proposal.rows):,} rows"
            + ("" if is_up(workspace) else "; train them with: stoker up")
        )
    elif written["out"]:
        note(f"{written['out']}: {len(proposal.rows):,} rows; look at them, then: stoker add {written['out']}")
        if written["review"]:
            note(f"{written['review']}: disliked answers; a corrected one can be added to the rows by hand")
    elif proposal.rows:
        note("nothing is written or trained; to go on: --out FILE, or --to-inbox NAME")
    elif not proposal.review:
        note("no rated requests; they come by POST /v1/feedback, and need keep_prompts = true in [serve]")


def _zone(workspace: Workspace) -> Any:
    from stoker.spec.reading import read_settings

    return read_settings(workspace.settings).lab.zone
