"""Which rows a person means: lines ("3,7-9") and row ids, found in a dataset's index. Held-out rows are refused.

Whoever may take rows out of the test decides the verdict, so only rows that train are chosen; others are named with where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from stoker.data.dataset import Dataset
from stoker.data.sealing.index import Index, Side
from stoker.errors import NotAllowed, NotFound, UsageError

_ID = re.compile(r"[0-9a-f]{16}")
_LINES = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")
_SHOWN = 5


def split_words(texts: Iterable[str]) -> list[str]:
    """Return the words of "3,7-9" and the like; UsageError for what is neither a line, a range nor a row's id."""
    words = [word for text in texts for word in re.split(r"[,\s]+", text) if word]
    for word in words:
        match = _LINES.fullmatch(word)
        if not _ID.fullmatch(word) and (match is None or (match[2] and int(match[2]) < int(match[1]))):
            raise UsageError(f"{word!r} names no rows", "rows are lines or ids", "for example: --remove 3,7-9")
    if not words:
        raise UsageError("no rows were named", "rows are lines or ids", "for example: --remove 3,7-9")
    return words


def choose_rows(dataset: Dataset, words: Sequence[str]) -> dict[str, int]:
    """Return id and line of the rows that `words` name; NotAllowed for held-out rows, NotFound for rows that don't train."""
    index = Index(dataset.folder, str(dataset.summary["name"]))
    try:
        trained, held_out = index.trained(), index.held_out()
    finally:
        index.close()
    chosen: dict[str, int] = {}
    for word in words:
        if _ID.fullmatch(word):
            _choose_id(word, trained, held_out, chosen)
        else:
            _choose_lines(dataset, word, trained, held_out, chosen)
    return chosen


def _choose_id(word: str, trained: Side, held_out: Side, chosen: dict[str, int]) -> None:
    number = np.uint64(int(word, 16))
    if number in held_out.ids:
        raise _sealed(f"row {word}")
    places = np.flatnonzero(trained.ids == number)
    if len(places) == 0:
        raise NotFound(f"no row {word} trains", "it was a duplicate or quarantined, or is of another dataset", "")
    chosen[word] = int(trained.lines[places[0]])


def _choose_lines(dataset: Dataset, word: str, trained: Side, held_out: Side, chosen: dict[str, int]) -> None:
    first, _, last = word.partition("-")
    low, high = int(first), int(last or first)
    if len(sealed := _between(held_out, low, high)):
        raise _sealed(f"line {_shown(held_out.lines[sealed])}")
    places = _between(trained, low, high)
    lines = trained.lines[places]
    if len(np.unique(lines)) < len(lines):
        why = f"{dataset.summary['name']} holds several files, and each has its own lines"
        raise NotAllowed(f"line {word} is more than one row", why, "name the row by its id")
    if len(lines) < high - low + 1:
        missing = _first_missing(lines, low)
        raise NotFound(f"line {missing} does not train", _where(dataset, missing), "leave it out")
    chosen.update({f"{int(trained.ids[place]):016x}": int(trained.lines[place]) for place in places})


def _between(side: Side, low: int, high: int) -> npt.NDArray[np.intp]:
    return np.flatnonzero((side.lines >= low) & (side.lines <= high))


def _first_missing(lines: npt.NDArray[np.int64], low: int) -> int:
    present = set(lines.tolist())
    while low in present:
        low += 1
    return low


def _where(dataset: Dataset, line: int) -> str:
    for entry in dataset.ledger():
        if entry["line"] == line:
            return f"it is {entry['state'].replace('_', ' ')}: {entry['reason']}"
    return "the file has no such row"


def _shown(lines: npt.NDArray[np.int64]) -> str:
    more = "" if len(lines) <= _SHOWN else f" and {len(lines) - _SHOWN} more"
    return ", ".join(map(str, lines[:_SHOWN].tolist())) + more


def _sealed(what: str) -> NotAllowed:
    return NotAllowed(
        f"{what} is held out", "taking rows out of the test would bias what it proves", "leave it out of the list"
    )
